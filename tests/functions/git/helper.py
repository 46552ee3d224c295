"""The real credential helper as git runs it, without the whole command line: `helper.py DATA_DIR get`."""

from __future__ import annotations

import sys
from pathlib import Path

from sixfold_functions.git import credential

if __name__ == "__main__":
    sys.stdout.write(credential.respond(Path(sys.argv[1]), sys.argv[2], sys.stdin))
