#!/usr/bin/env bash
# `make demo`: the demonstration on the embedded bus, or on a local Kafka that is started for it and stopped after it.
# What follows the bus's name is for `sixfold demo`, such as --repository FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
bus=${1:-embedded}

case $bus in
  embedded) exec "$python" -m sixfold --bus embedded: demo "${@:2}" ;;
  kafka) ;;
  *) echo "BUS=$bus: expected embedded or kafka" >&2; exit 2 ;;
esac

# The brokers' data stays, so that one can look at what the demonstration left, and the next one finds its cluster again.
folder=${SIXFOLD_DATA_DIR:-.sixfold}/kafka
if kill -0 "$(cat "$folder/broker-1/pid" 2>/dev/null)" 2>/dev/null; then
  echo "Using the local Kafka of $folder, which runs already" >&2
else
  echo "Starting a local Apache Kafka in $folder (the first time fetches its jars)" >&2
  trap 'tests/kafka/local stop "$folder"; echo "The local Kafka is stopped; start it again: tests/kafka/local start $folder" >&2' EXIT
fi
bootstrap=$(tests/kafka/local start "$folder" --parent $$)

# In the background, so that a signal to this script alone reaches it; Ctrl-C reaches both by itself.
"$python" -m sixfold --bus "kafka://$bootstrap" demo "${@:2}" &
demo=$!
trap 'kill -TERM "$demo"' TERM
trap : INT
while :; do
  code=0
  wait "$demo" || code=$?
  kill -0 "$demo" 2>/dev/null || exit "$code"
done
