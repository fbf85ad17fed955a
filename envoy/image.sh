#!/usr/bin/env bash
# Builds the container image of envoy/Dockerfile from what is in dist/, without a daemon, into an OCI
# layout. Usage: envoy/image.sh LAYOUT ENVOY [BASE]
#
# Without BASE the parts are put on a stand-in for Envoy's distroless image, so that no registry is
# needed: ENVOY, the C library that it is linked with, certificate authorities, a user, /tmp.
set -euo pipefail
layout=$1 envoy=$2 base=${3:-localhost/envoy-stand-in}

# A store of its own, that nothing is left in. vfs is slow, and works everywhere.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
storage="vfs@$work/store+$work/run"
buildah() { command buildah --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }

stand_in() {
    local root=$work/root authorities=/etc/ssl/certs/ca-certificates.crt
    [ -r "$authorities" ] || { echo "$authorities is missing: apt-get install ca-certificates" >&2; exit 1; }
    install -D -m 755 "$envoy" "$root/usr/local/bin/envoy"
    install -D -m 644 "$authorities" "$root$authorities"
    ldd "$envoy" | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory="$root"
    install -d -m 1777 "$root/tmp"
    install -d "$root/dev" "$root/proc" "$root/sys"
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > "$root/etc/passwd"
    echo 'nonroot:x:65532:' > "$root/etc/group"
    echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
    local container
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$root" / > /dev/null
    buildah config --user 65532 --entrypoint '["/usr/local/bin/envoy"]' "$container"
    buildah commit --quiet --rm --timestamp 0 "$container" "$base" > /dev/null
}

[ "$#" -ge 3 ] || stand_in
# The one RUN of the final image needs no more of a container than its files.
buildah bud --quiet --isolation chroot --timestamp 0 --file envoy/Dockerfile --tag localhost/lockgate \
    --build-arg ENVOY_IMAGE="$base" --build-arg PARTS=dist . > /dev/null
rm -rf "$layout"
# A registry's client compresses what it sends; here it would only take time.
skopeo copy --quiet --dest-oci-accept-uncompressed-layers \
    "containers-storage:[$storage]localhost/lockgate" "oci:$layout:lockgate" 2> "$work/said" \
    || { cat "$work/said" >&2; exit 1; }
skopeo inspect --format "$layout {{.Digest}}" "oci:$layout:lockgate"
