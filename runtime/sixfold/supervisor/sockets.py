"""The gateway's listening socket: bound by the supervisor, so that the port outlives a restart of the gateway."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from sixfold import errors

_BACKLOG = 1024


class PortInUseError(errors.SixfoldError):
    """Another process listens where the gateway should."""


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens on `host` and `port`."""
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    with opened:
        # A socket in TIME_WAIT must not keep the next start waiting; one that listens still refuses.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, port))
            opened.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"port {port} on {host} is in use by another process; choose another with --port, "
                    "or --port 0 for any free one"
                ) from error
            raise errors.UsageError(
                f"the gateway cannot listen on {host}:{port}: {error.strerror}; see --host"
            ) from error
        yield opened


def url_of(listen: socket.socket) -> str:
    """Where a local client reaches what listens on `listen`."""
    host, port = listen.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
