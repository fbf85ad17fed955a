#!/usr/bin/env bash
# Unpacks Debian's nginx with Lua into a directory. Nothing is installed, so no service starts with it.
# usage: fetch-nginx.sh DIRECTORY
set -euo pipefail

into=$1
packages=(nginx libnginx-mod-http-ndk libnginx-mod-http-lua libluajit2-5.1-2 libluajit2-5.1-common
    lua-resty-core lua-resty-lrucache lua-cjson libpcre3)

command -v apt-get > /dev/null || {
    echo "make bench takes nginx from Debian's packages, and there is no apt-get here" >&2
    exit 1
}
# A fresh container knows no packages until it has asked.
if ! apt-cache show nginx 2> /dev/null | grep -q '^Filename:'; then
    apt-get update -qq || { echo "apt-get knows no packages; run apt-get update as root first" >&2; exit 1; }
fi
mkdir -p "$into/packages"
(cd "$into/packages" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}")
for package in "$into"/packages/*.deb; do
    dpkg-deb -x "$package" "$into"
    dpkg-deb --show --showformat '${Package} ${Version}\n' "$package" >> "$into/packages/versions"
done
# Last, because make takes its presence to mean that everything is there.
grep -E '^(nginx|libnginx-mod-http-lua|libluajit2-5.1-2) ' "$into/packages/versions" > "$into/versions"
rm -r "$into/packages"
