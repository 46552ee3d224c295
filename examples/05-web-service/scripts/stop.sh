#!/bin/sh
# Stop the service if it runs. Safe to run twice, after a crash, and where nothing was ever started.
set -eu
state="$INSTANCE_ROOT/run/web.json"
[ -f "$state" ] || { echo "not running"; exit 0; }
pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$state")

# The process id may belong to somebody else by now: ours has the state file in its command line.
ours() { [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$state"; }

if ours; then
    kill -TERM "$pid" 2>/dev/null || true
    tries=0
    while ours; do
        tries=$((tries + 1))
        [ "$tries" -eq 100 ] && { echo "did not end in 10 s, killing it"; kill -KILL "$pid" 2>/dev/null || true; }
        [ "$tries" -ge 150 ] && { echo "process $pid cannot be killed" >&2; exit 1; }
        sleep 0.1
    done
    echo "stopped $pid"
fi
rm -f "$state"
