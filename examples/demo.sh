#!/usr/bin/env bash
# `make demo`: the demonstration on the embedded bus, or on a local Kafka that is started for it and stopped after it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

case ${1:-embedded} in
  embedded) exec "$python" -m sixfold demo ;;
  kafka)
    echo "Starting a local Apache Kafka (the first time fetches its jars) …" >&2
    folder=$(mktemp -d)
    trap 'tests/kafka/local stop "$folder"; rm -rf "$folder"' EXIT
    bootstrap=$(tests/kafka/local start "$folder" --parent $$)
    "$python" -m sixfold --bus "kafka://$bootstrap" demo
    ;;
  *) echo "BUS=$1: expected embedded or kafka" >&2; exit 2 ;;
esac
