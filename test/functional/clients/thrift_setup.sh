#!/bin/sh
# Make a thrift client in another language under build/clients, once for each state of what it is made of.
# thrift_setup.sh go: prints the path of the program. thrift_setup.sh node: that of the generated code.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
idl=$here/../../../kestrel/kestrel.thrift
language=$1

missing() {
    echo "$1 is missing: apt install $2" >&2
    exit 3
}

command -v thrift >/dev/null || missing thrift thrift-compiler
case $language in
    go) command -v go >/dev/null || missing go golang-go; sources="$here/thrift_go/*" ;;
    node) command -v node >/dev/null || missing node nodejs; sources= ;;
esac
# shellcheck disable=SC2086
key=$({ cat "$idl" $sources; thrift --version; } | cksum | cut -d' ' -f1)
folder=$here/../../../build/clients/thrift-$language-$key
mkdir -p "$folder"
cd "$folder"
(
    flock 9
    if [ ! -e complete ]; then
        if [ "$language" = go ]; then
            cp $sources .
            thrift --gen go:package_prefix=tour/ -out . "$idl"
            rm -rf kestrel/kestrel-remote
            go build -buildvcs=false -o tour . >&2
        else
            thrift --gen js:node -out . "$idl"
        fi
        touch complete
    fi
) 9>lock
if [ "$language" = go ]; then echo "$PWD/tour"; else pwd; fi
