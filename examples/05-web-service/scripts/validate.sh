#!/bin/sh
# Ask the service over HTTP, until it answers with the deployed revision or the deadline has passed.
set -eu
exec python3 - "$INSTANCE_ROOT/run/web.json" "$BUNDLE_COMMIT" <<'PYTHON'
import json, sys, time, urllib.request

state, wanted = sys.argv[1:]
deadline = time.monotonic() + 15
while True:
    try:
        port = json.load(open(state))["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=5) as answer:
            found = json.load(answer)["revision"]
        if found == wanted:
            print(f"revision {found} answers on port {port}")
            sys.exit(0)
        problem = f"revision {found} answers, expected {wanted}"
    except (OSError, ValueError, KeyError) as error:
        problem = f"no answer: {error}"
    if time.monotonic() > deadline:
        sys.exit(problem)
    time.sleep(0.1)
PYTHON
