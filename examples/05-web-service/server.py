"""A tiny web service that says which revision of itself it is: `/` and `/version` answer JSON.

It binds a port that the kernel chooses, writes it with its process id to `--state`, and ends on SIGTERM.
Nothing but the standard library, so it runs wherever Python does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

MESSAGE = "Hello from Sixfold"


def revision() -> str:
    """The commit that this was built from: the REVISION file that the build wrote beside it."""
    return Path(__file__).with_name("REVISION").read_text().strip()


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path not in ("/", "/version"):
            self.send_error(404, "try / or /version")
            return
        body = json.dumps(self.server.answer).encode() + b"\n"  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's word)
        sys.stderr.write(f"{self.address_string()} {format % args}\n")


def make(port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, bound and ready to serve."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.answer = {  # type: ignore[attr-defined]
        "message": MESSAGE,
        "revision": revision(),
        "instance": os.environ.get("INSTANCE_ID", ""),
    }
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="file that tells our process id and port")
    state = parser.parse_args().state
    server = make()

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    whole = state.with_name(f".{state.name}.new")
    whole.write_text(json.dumps({"pid": os.getpid(), "port": server.server_address[1]}) + "\n")
    whole.replace(state)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
