"""An object of a backup: its records in blocks, and before them what it holds and where.

    magic "S6BACKUP" | version u16 | length of the head u32 | SHA-256 of the head | head: JSON | blocks

A block is a MessagePack array of batches and has a CRC-32 in the head, so that a part of an object can be read and
checked without the rest. The head repeats what the object's name says. Where a backup has a data key the blocks are
encrypted under a key of their object, bound to what the head says of it and to their place; the head is in clear.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from sixfold import errors
from sixfold_functions.volume.core import restore
from sixfold_functions.volume.core.backup import Batch, Piece
from sixfold_functions.volume.encryption.envelope import OVERHEAD_BYTES, Envelope, FileCipher
from sixfold_functions.volume.encryption.keyring import Keyring, KeyWrongError

MAGIC = b"S6BACKUP"
VERSION = 1
_PURPOSE = b"backup block"
_PRELUDE = struct.Struct(">8sHI32s")
PRELUDE_BYTES = _PRELUDE.size
BLOCK_BYTES = 256 * 1024
"""Payload after which a block ends; one read of a clone's past costs about so much."""
HEAD_BYTES_GUESS = 16 * 1024
"""What the first read of a part of an object takes; enough for the heads of nearly all."""


class ObjectDamagedError(errors.SixfoldError):
    """An object is not what was written."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Where some batches lie."""

    first_lsn: int
    last_lsn: int
    position: int
    """Behind the head."""
    size: int
    crc: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What an object holds."""

    volume: str
    first_lsn: int
    last_lsn: int
    first_ms: int
    last_ms: int
    first_backlink_epoch: int
    last_origin_epoch: int
    blocks: list[Block]
    envelope: Envelope | None = None
    """Of the object's key; None where the blocks are in plain."""

    @property
    def sealed_name(self) -> str:
        """What its key is bound to."""
        return f"backup of {self.volume}, LSN {self.first_lsn} to {self.last_lsn}, {self.first_ms} to {self.last_ms} ms"

    def piece(self, level: int, size: int = 0) -> Piece:
        """The object's name on `level`."""
        return Piece(level, self.first_lsn, self.last_lsn, self.first_ms, self.last_ms, size)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Batch])


class Writing:
    """An object that is being made."""

    def __init__(self, volume: str, keyring: Keyring | None = None) -> None:
        self._volume = volume
        self._keyring = keyring or Keyring()
        self._parts: list[tuple[int, int, bytes]] = []
        """First and last LSN of each block, and its batches."""
        self._batches: list[Batch] = []
        self._block_bytes = 0
        self._first: Batch | None = None
        self._last: Batch | None = None
        self.size = 0
        """Bytes so far."""

    def add(self, batch: Batch) -> None:
        self._first = self._first or batch
        self._last = batch
        self._batches.append(batch)
        size = sum(map(len, batch.payloads)) + 64
        self._block_bytes += size
        self.size += size
        if self._block_bytes >= BLOCK_BYTES:
            self._end_block()

    def _end_block(self) -> None:
        first_lsn, last_lsn = self._batches[0].first_lsn, self._batches[-1].last_lsn
        self._parts.append((first_lsn, last_lsn, _encoder.encode(self._batches)))
        self._batches, self._block_bytes = [], 0

    def done(self) -> tuple[Head, bytes]:
        """The object; there must be something in it."""
        assert self._first is not None
        assert self._last is not None
        if self._batches:
            self._end_block()
        head = Head(
            volume=self._volume,
            first_lsn=self._first.first_lsn,
            last_lsn=self._last.last_lsn,
            first_ms=self._first.committed_at_ms,
            last_ms=self._last.committed_at_ms,
            first_backlink_epoch=self._first.backlink_epoch,
            last_origin_epoch=self._last.origin_epoch,
            blocks=[],
        )
        begun = self._keyring.begin(head.sealed_name)
        parts: list[bytes] = []
        blocks: list[Block] = []
        position = 0
        for number, (first_lsn, last_lsn, data) in enumerate(self._parts):
            part = data if begun is None else begun[1].seal(_PURPOSE, position, number, len(data), data)
            parts.append(part)
            blocks.append(Block(first_lsn, last_lsn, position, len(part), zlib.crc32(part)))
            position += len(part)
        envelope = begun[0] if begun is not None else None
        head = msgspec.structs.replace(head, blocks=blocks, envelope=envelope)
        return head, packed(head, parts)


def packed(head: Head, blocks: Iterable[bytes]) -> bytes:
    """An object of its parts."""
    about = msgspec.json.encode(head)
    prelude = _PRELUDE.pack(MAGIC, VERSION, len(about), hashlib.sha256(about).digest())
    return b"".join([prelude, about, *blocks])


def start_of(head: Head) -> int:
    """Where an object's blocks begin."""
    return PRELUDE_BYTES + len(msgspec.json.encode(head))


def head_bytes(data: bytes, where: str) -> int:
    """How long prelude and head are together. Raises ObjectDamagedError."""
    if len(data) < PRELUDE_BYTES:
        raise ObjectDamagedError(f"{where}: expected at least {PRELUDE_BYTES} bytes, found {len(data)}: it was cut off")
    magic, version, length, _ = _PRELUDE.unpack_from(data)
    if magic != MAGIC:
        raise ObjectDamagedError(f"{where}: expected it to begin with {MAGIC.decode()}, found {magic!r}")
    if version != VERSION:
        raise ObjectDamagedError(f"{where}: has format {version}, this version of Sixfold reads {VERSION}; update it")
    return PRELUDE_BYTES + int(length)


def head_of(data: bytes, where: str, *, piece: Piece | None = None, volume: str | None = None) -> Head:
    """The head of an object that begins with `data`. Raises ObjectDamagedError, also where its name says otherwise."""
    end = head_bytes(data, where)
    about = data[PRELUDE_BYTES:end]
    if len(data) < end or hashlib.sha256(about).digest() != _PRELUDE.unpack_from(data)[3]:
        what = "was cut off" if len(data) < end else "has changed"
        raise ObjectDamagedError(f"{where}: its head {what}; the SHA-256 does not fit")
    head = msgspec.json.decode(about, type=Head)
    if volume is not None and head.volume != volume:
        raise ObjectDamagedError(f"{where}: expected records of volume {volume}, found those of {head.volume}")
    if piece is not None and head.piece(piece.level, piece.size) != piece._replace(snapshot_lsn=0, ends=False):
        raise ObjectDamagedError(
            f"{where}: holds LSN {head.first_lsn} to {head.last_lsn}, committed at {head.first_ms} to {head.last_ms} ms; "
            "its name says something else, so it is another object's content"
        )
    return head


def cipher_of(head: Head, keyring: Keyring, where: str) -> FileCipher | None:
    """What opens the blocks of an object; None where they are in plain. Raises KeyMissingError, ObjectDamagedError."""
    if head.envelope is None:
        return None
    try:
        return keyring.open(head.envelope, head.sealed_name)
    except KeyWrongError as error:
        raise ObjectDamagedError(f"{where}: {error}") from error


def block_of(data: bytes, block: Block, where: str, cipher: FileCipher | None = None, number: int = 0) -> list[Batch]:
    """The batches of a block, the `number`th of its object, whose bytes are `data`. Raises ObjectDamagedError."""
    if len(data) != block.size or zlib.crc32(data) != block.crc:
        what = "was cut off" if len(data) < block.size else "has changed; the CRC-32 does not fit"
        raise ObjectDamagedError(f"{where}: the block of LSN {block.first_lsn} to {block.last_lsn} {what}")
    if cipher is not None:
        opened = cipher.open(_PURPOSE, block.position, number, max(block.size - OVERHEAD_BYTES, 0), data)
        if opened is None:
            raise ObjectDamagedError(
                f"{where}: the block of LSN {block.first_lsn} to {block.last_lsn} does not open with the object's key: it "
                "was changed, or moved here from another object"
            )
        data = opened
    return _decoder.decode(data)


def batches_of(
    data: bytes, where: str, *, piece: Piece | None = None, volume: str | None = None, keyring: Keyring | None = None
) -> Iterator[Batch]:
    """Every batch of a whole object, checked: sums, LSNs, epochs and stamps. Raises ObjectDamagedError."""
    head = head_of(data, where, piece=piece, volume=volume)
    start = head_bytes(data, where)
    expected = start + sum(block.size for block in head.blocks)
    if len(data) > expected:
        raise ObjectDamagedError(f"{where}: expected {expected} bytes, found {len(data)}")
    cipher = cipher_of(head, keyring or Keyring(), where)
    blocks = (
        block_of(data[start + block.position : start + block.position + block.size], block, where, cipher, number)
        for number, block in enumerate(head.blocks)
    )
    yield from _followed((batch for block in blocks for batch in block), head, where)


def _followed(batches: Iterable[Batch], head: Head, where: str) -> Iterator[Batch]:
    before = Batch(head.first_lsn, head.first_backlink_epoch, 0, head.first_ms, [], [])
    last: Batch | None = None
    try:
        for last in restore.follow(batches, before):
            yield last
    except restore.DamagedHistoryError as error:
        raise ObjectDamagedError(f"{where}: {error}") from error
    found = (last.last_lsn, last.committed_at_ms, last.origin_epoch) if last else (0, 0, 0)
    if found != (head.last_lsn, head.last_ms, head.last_origin_epoch):
        raise ObjectDamagedError(f"{where}: ends at LSN {found[0]}, expected LSN {head.last_lsn}")
