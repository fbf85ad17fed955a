# For each example's `run`: starts programs, waits for them, and ends all of them with itself.
# Sourced, never run. What it gives:
#   port 8080                 the port in the place of 8080, by PORTS="8080=18080 9901=19901"
#   start NAME COMMAND...     a program in the background
#   envoy NAME FILE           Envoy with a configuration of this folder, its ports exchanged
#   answers PORT [ADDRESS]    waits until something listens there; on 127.0.0.1 unless said
#   ready LINE...             says how to try it, and stays until a program or a signal ends it
# and $root, $state (a directory for this run), $ENVOY.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
state=$(mktemp -d)
: "${ENVOY:?names no Envoy: use make example-$(basename "$here"), or set it}"
declare -A started=()

finish() {
    local status=$?
    trap - EXIT INT TERM
    [ "${#started[@]}" = 0 ] || kill "${!started[@]}" 2> /dev/null || true
    wait
    rm -rf "$state"
    exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM

port() {
    local pair
    for pair in ${PORTS:-}; do
        [ "${pair%%=*}" != "$1" ] || { echo "${pair#*=}"; return; }
    done
    echo "$1"
}

start() {
    local name=$1
    shift
    "$@" &
    started[$!]=$name
}

envoy() {
    local pair exchange=""
    for pair in ${PORTS:-}; do
        exchange+="s/\\b${pair%%=*}\\b/${pair#*=}/g;"
    done
    sed "$exchange" "$here/$2" > "$state/$1.yaml"
    start "$1" "$ENVOY" --config-path "$state/$1.yaml" --disable-hot-restart --concurrency 1 --log-level warning
}

answers() {
    local deadline=$((SECONDS + 60))
    until (: < "/dev/tcp/${2:-127.0.0.1}/$(port "$1")") 2> /dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "nothing listens on port $(port "$1")" >&2; exit 1; }
        still_there
        sleep 0.1
    done
}

still_there() {
    local id
    for id in "${!started[@]}"; do
        kill -0 "$id" 2> /dev/null || { echo "${started[$id]} ended" >&2; exit 1; }
    done
}

ready() {
    printf '%s\n' ready "$@"
    local ended
    wait -n -p ended "${!started[@]}" || true
    echo "${started[$ended]} ended" >&2
    exit 1
}

# Who listens there already would be taken for the example's own.
for needed in $(sed -n 's/^ *answers \([0-9]*\)$/\1/p' "$0"); do
    if (: < "/dev/tcp/127.0.0.1/$(port "$needed")") 2> /dev/null; then
        echo "port $(port "$needed") is taken; another in its place: PORTS=\"$needed=1$needed\" make example-$(basename "$here")" >&2
        exit 1
    fi
done
