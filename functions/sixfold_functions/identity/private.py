"""Writing files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from sixfold import errors


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path`, 0600 from its first byte on. Raises UsageError where it cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror}") from error
