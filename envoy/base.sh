#!/usr/bin/env bash
# Makes the image that stands in for Envoy's distroless one where no registry can be reached: an Envoy
# of this machine, the C library it is linked with, certificate authorities, a user, /tmp.
# Usage: envoy/base.sh ENVOY IMAGE
set -euo pipefail
envoy=$1 image=$2
authorities=/etc/ssl/certs/ca-certificates.crt
[ -r "$authorities" ] || { echo "$authorities is missing: apt-get install ca-certificates" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D -m 755 "$envoy" "$root/usr/local/bin/envoy"
install -D -m 644 "$authorities" "$root$authorities"
ldd "$envoy" | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory="$root"
install -d -m 1777 "$root/tmp"
install -d "$root/dev" "$root/proc" "$root/sys"
echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > "$root/etc/passwd"
echo 'nonroot:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / > /dev/null
buildah config --user 65532 --entrypoint '["/usr/local/bin/envoy"]' "$container"
buildah commit --quiet --rm --timestamp 0 "$container" "$image" > /dev/null
