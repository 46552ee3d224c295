"""Length-prefixed msgpack frames over a stream: four bytes of length, big-endian, then one message."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

_HEADER_BYTES = 4
_WRITE_BUFFER_BYTES = 2 * 1024 * 1024
"""Unsent bytes from which a connection counts as slow: two answers to a fetch."""
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytearray:
    """`message` as a frame."""
    frame = bytearray(_HEADER_BYTES)
    _encoder.encode_into(message, frame, _HEADER_BYTES)
    frame[:_HEADER_BYTES] = (len(frame) - _HEADER_BYTES).to_bytes(_HEADER_BYTES, "big")
    return frame


class FrameError(Exception):
    """The other end sent what is no frame of ours."""


class FrameProtocol(asyncio.Protocol):
    """One end of a connection. Subclasses take messages in `received`."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any], frame_bytes_max: int) -> None:
        self._decoder = decoder
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._needed = _HEADER_BYTES
        self.transport: asyncio.Transport | None = None

    def received(self, message: Any) -> None:
        """One message came."""
        raise NotImplementedError

    def broken(self, reason: str) -> None:
        """The other end breaks the protocol; the connection is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape only
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._needed:
            return
        try:
            self._parse(buffer)
        except (msgspec.DecodeError, FrameError) as error:
            self.broken(str(error))
            if self.transport is not None:
                self.transport.abort()

    def _parse(self, buffer: bytearray) -> None:
        at = 0
        size = len(buffer)
        with memoryview(buffer) as view:
            while True:
                if size - at < _HEADER_BYTES:
                    self._needed = _HEADER_BYTES
                    break
                length = int.from_bytes(view[at : at + _HEADER_BYTES], "big")
                if length > self._frame_bytes_max:
                    raise FrameError(f"a frame of {length} bytes; at most {self._frame_bytes_max} are taken")
                end = at + _HEADER_BYTES + length
                if size < end:
                    self._needed = end - at
                    break
                message = self._decoder.decode(view[at + _HEADER_BYTES : end])
                at = end
                self.received(message)
        if at:
            del buffer[:at]

    def send(self, frame: bytes | bytearray) -> None:
        """Queue a frame for the other end; nothing where the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)
