#!/bin/sh
# Install the client libraries in other languages into build/clients, once for each package-lock.json.
# Prints the folder that holds node_modules. Several may run at a time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
clients=$here/../../../build/clients
key=$(cat "$here/package.json" "$here/package-lock.json" | cksum | cut -d' ' -f1)
folder=$clients/node-$key

for command in node npm; do
    command -v $command >/dev/null || { echo "$command is missing: apt install nodejs npm" >&2; exit 3; }
done

mkdir -p "$folder"
(
    flock 9
    if [ ! -e "$folder/complete" ]; then
        cp "$here/package.json" "$here/package-lock.json" "$folder"
        cd "$folder"
        npm ci --silent --no-audit --no-fund --ignore-scripts >&2
        touch complete
    fi
) 9>"$folder/lock"
cd "$folder" && pwd
