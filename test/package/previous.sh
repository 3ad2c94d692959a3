#!/bin/bash
# test/package/previous.sh NEW.deb OLD.deb: the package under a lower version and with other configuration files, to
# upgrade from.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb --raw-extract "$1" "$folder/tree"
sed -i '/^Version: /s/$/~previous/' "$folder/tree/DEBIAN/control"
for conffile in kestrel/kestrel.conf logrotate.d/kestrel; do
    echo '# of the previous version' >>"$folder/tree/etc/$conffile"
done
dpkg-deb -Zgzip --root-owner-group --build "$folder/tree" "$2" >/dev/null
