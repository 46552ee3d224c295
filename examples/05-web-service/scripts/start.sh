#!/bin/sh
# Start the service in a session of its own, with its output in a file: nothing of it holds this script's output open.
set -eu
run="$INSTANCE_ROOT/run"
mkdir -p "$run"
"$(dirname "$0")/stop.sh"

setsid python3 "$INSTANCE_ROOT/srv/web-service/server.py" --state "$run/web.json" \
    >"$run/web.log" 2>&1 </dev/null &

tries=0
until [ -f "$run/web.json" ]; do
    tries=$((tries + 1))
    [ "$tries" -ge 200 ] && { echo "the service did not bind a port in 20 s:" >&2; cat "$run/web.log" >&2; exit 1; }
    sleep 0.1
done
cat "$run/web.json"
