#!/usr/bin/env bash
# `make demo`: the demonstration on the embedded bus, on a local Kafka that is started for it and stopped after it, or
# within compose.yaml's network on its three brokers, likewise.
# What follows the bus's name is for `sixfold demo`, such as --repository FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
bus=${1:-embedded}

case $bus in
  embedded) exec "$python" -m sixfold --bus embedded: demo "${@:2}" ;;
  kafka) ;;
  compose) ;;
  *) echo "BUS=$bus: expected embedded, kafka or compose" >&2; exit 2 ;;
esac

compose() { # by whichever there is
  if docker compose version >/dev/null 2>&1; then
    docker compose "$@"
  elif command -v podman-compose >/dev/null; then
    podman-compose "$@"
  elif [ -x "$(dirname "$python")/podman-compose" ]; then
    "$(dirname "$python")/podman-compose" "$@"
  else
    echo "BUS=compose needs docker with its compose plugin, or podman with podman-compose" >&2
    exit 2
  fi
}

if [ "$bus" = compose ]; then
  brokers=(kafka-a kafka-b kafka-c)
  echo "Building Sixfold's image, and starting a broker in each of three zones" >&2
  compose build functions >&2
  trap 'compose stop "${brokers[@]}" >/dev/null 2>&1; echo "The brokers are stopped, their data stays; docker compose (or podman-compose) down --volumes removes it" >&2' EXIT
  compose up --detach "${brokers[@]}" >&2
  for broker in "${brokers[@]}"; do
    for _ in {1..120}; do
      compose exec -T "$broker" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9092' >/dev/null 2>&1 && continue 2
      sleep 1
    done
    echo "$broker does not answer after two minutes; look at: compose logs $broker" >&2
    exit 1
  done
  # The working copy that is pushed belongs to somebody else than the container's user, which git asks about.
  compose run --rm --no-deps -T --volume "$PWD:/checkout:ro" --workdir /checkout \
    -e GIT_CONFIG_COUNT=1 -e GIT_CONFIG_KEY_0=safe.directory -e 'GIT_CONFIG_VALUE_0=*' \
    functions --bus kafka://kafka-a:9092,kafka-b:9092,kafka-c:9092 demo "${@:2}"
  exit
fi

# The brokers' data stays, so that one can look at what the demonstration left, and the next one finds its cluster again.
folder=${SIXFOLD_DATA_DIR:-.sixfold}/kafka
if kill -0 "$(cat "$folder/broker-1/pid" 2>/dev/null)" 2>/dev/null; then
  echo "Using the local Kafka of $folder, which runs already" >&2
else
  echo "Starting a local Apache Kafka in $folder (the first time fetches its jars)" >&2
  trap 'tests/kafka/local stop "$folder"; echo "The local Kafka is stopped; start it again: tests/kafka/local start $folder" >&2' EXIT
fi
bootstrap=$(KAFKA_QUICK=1 tests/kafka/local start "$folder" --parent $$)

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
