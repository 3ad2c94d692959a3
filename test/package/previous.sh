#!/bin/bash
# test/package/previous.sh NEW.deb OLD.deb: the package under a lower version, to upgrade from.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb --raw-extract "$1" "$folder/tree"
sed -i '/^Version: /s/$/~previous/' "$folder/tree/DEBIAN/control"
dpkg-deb --root-owner-group --build "$folder/tree" "$2" >/dev/null
