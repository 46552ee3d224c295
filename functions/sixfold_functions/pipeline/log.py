"""An action's output in a file of bounded size: its beginning, and the end of what went beyond."""

from __future__ import annotations

from pathlib import Path

from sixfold_functions.pipeline.settings import PipelineSettings


class BuildLog:
    """Appends to a log file; `close` writes the end of what did not fit."""

    def __init__(self, path: Path, settings: PipelineSettings) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = max(0, settings.log_bytes_max - self._file.tell())
        self._keep = settings.log_tail_bytes
        self._tail = b""
        """The newest output, for the event of a failure and the end of the file."""
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Take in output."""
        self._tail = (self._tail + data)[-self._keep :]
        fits, rest = data[: self._left], data[self._left :]
        self._left -= len(fits)
        self._dropped += len(rest)
        if fits:
            self._file.write(fits)

    def line(self, text: str) -> None:
        """Write a line of our own; `==` marks it."""
        self.write(f"== {text}\n".encode())

    def tail(self, size_bytes: int) -> str:
        """The last lines of the output, at most so many bytes."""
        text = self._tail[-size_bytes:].decode(errors="replace")
        if len(self._tail) > size_bytes:
            text = text.partition("\n")[2] or text
        return text

    def close(self) -> None:
        """End the file."""
        if self._dropped:
            end = self._tail[-min(self._dropped, self._keep) :]
            left_out = self._dropped - len(end)
            self._file.write(b"\n== the output is too long: %d bytes are left out here\n" % left_out + end)
        self._file.close()
