"""Git's wire as far as the front must understand it: pkt-lines, a push's commands, the bands of its answer. Sans I/O.

Sources: git's `gitprotocol-common`, `gitprotocol-pack` (sections "Reference Update Request", "Report Status",
"Packfile Data": side-band) and `gitprotocol-http`.
"""

from __future__ import annotations

import re

FLUSH = b"0000"
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n]+)")
DATA_BAND, PROGRESS_BAND, ERROR_BAND = 1, 2, 3


class ProtocolError(ValueError):
    """The client or git sent what is no pkt-line stream; the message says what."""


def packet(data: bytes) -> bytes:
    """`data` as one pkt-line: four hex digits of length, themselves counted, then the bytes."""
    return b"%04x" % (len(data) + 4) + data


def band(number: int, text: str) -> bytes:
    """`text` on a side band, at most 900 bytes of it."""
    return packet(bytes((number,)) + text.encode()[:900])


class Packets:
    """Splits a byte stream into pkt-lines as it comes in."""

    def __init__(self, *, to_flush: bool = False) -> None:
        self._to_flush = to_flush
        """Stop after the first flush: what follows is no pkt-line."""
        self.rest = b""
        """Bytes of a packet that is not whole yet."""

    def feed(self, data: bytes) -> list[bytes]:
        """The whole packets in what has come in so far, each with its length prefix."""
        buffer, position, found = self.rest + data, 0, []
        while len(buffer) - position >= 4:
            try:
                length = int(buffer[position : position + 4], 16)
            except ValueError as error:
                start = buffer[position : position + 4]
                raise ProtocolError(f"expected a pkt-line's length of four hex digits, found {start!r}") from error
            size = max(length, 4)  # 0000, 0001, 0002 are flush, delimiter and end
            if len(buffer) - position < size:
                break
            found.append(buffer[position : position + size])
            position += size
            if self._to_flush and length == 0:
                break
        self.rest = buffer[position:]
        return found


class PushCommands:
    """Reads the commands at the head of a push; the pack after them is not looked at."""

    def __init__(self, bytes_max: int) -> None:
        self.refs: list[str] = []
        """Full names of the refs that the push wants to move."""
        self.side_band = False
        """The client takes progress and errors beside the report."""
        self.done = False
        self._packets = Packets(to_flush=True)
        self._bytes_left = bytes_max

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the request. Raises ProtocolError where they are no push."""
        if self.done:
            return
        for each in self._packets.feed(data):
            if each == FLUSH:
                self.done = True
                return
            found = _COMMAND.match(each[4:])
            if found:
                if b"\0" in each and not self.refs:
                    self.side_band = b"side-band-64k" in each.partition(b"\0")[2].split()
                self.refs.append(found[3].decode(errors="surrogateescape"))
            self._bytes_left -= len(each)
        if self._bytes_left < len(self._packets.rest):
            raise ProtocolError("the push names more refs than this server takes at once; push fewer")


class ReportGate:
    """Holds back a push's report while progress passes: nobody hears "ok" before the event is in the log."""

    def __init__(self, bytes_max: int) -> None:
        self.side_band = False
        self._packets = Packets()
        self._held: list[bytes] = []
        self._bytes_left = bytes_max

    def feed(self, data: bytes) -> bytes:
        """Git's next output; what of it may go to the client now."""
        if not self.side_band:
            self._hold(data)
            return b""
        passing = []
        for each in self._packets.feed(data):
            if len(each) > 4 and each[4] != DATA_BAND:
                passing.append(each)
            else:
                self._hold(each)
        return b"".join(passing)

    def _hold(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise ProtocolError("git's report of the push is larger than this server keeps in memory; push fewer refs")
        self._held.append(data)

    def release(self) -> bytes:
        """The report, once the events are in the log."""
        return b"".join(self._held) + self._packets.rest

    def refuse(self, message: str) -> bytes:
        """What the client gets in the report's place where they are not."""
        if self.side_band:
            return band(ERROR_BAND, message) + FLUSH
        return packet(f"unpack {message}\n".encode()) + FLUSH
