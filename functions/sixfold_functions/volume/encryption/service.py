"""A copy's keys while it runs: says which there are, takes a new one, writes older segments anew in the background."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold_events.volume import KeyUse, VolumeKeysAnswered, VolumeKeysRequested
from sixfold_functions.volume import files
from sixfold_functions.volume.copy import Copy
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.custody import Custodian
from sixfold_functions.volume.encryption.rewriting import NoRoomError

REWRITE_BYTES_PER_S = 32 * 1024 * 1024
"""Written or read back; a full segment takes about four seconds, and the copy's own work comes first."""
SLICE_BYTES = 512 * 1024
"""Between two waits: a few milliseconds in which the copy does nothing else."""
ROOM_RETRY_S = 60.0


class KeyService:
    """Of one copy."""

    def __init__(self, copy: Copy, custodian: Custodian, *, clock: clocks.Clock) -> None:
        self._copy = copy
        self._custodian = custodian
        self._clock = clock
        self._rewriter = copy.rewriter()
        self._due = asyncio.Event()
        self._due.set()
        self._problem = ""
        self._log = structlog.get_logger().bind(volume=copy.node.volume, copy=copy.node.copy)

    def begin(self) -> None:
        """At a start: what an earlier process did not finish is taken away, and new segments are encrypted at once."""
        self._rewriter.tidy()
        keyring = self._copy.keyring
        if keyring.current is not None and self._copy.segments()[-1].envelope is None:
            self._copy.rotate(keyring.current, reencrypt=False)

    async def answer(self, request: VolumeKeysRequested) -> VolumeKeysAnswered:
        """Do what is asked for, and say how it is then."""
        error = ""
        if request.rotate:
            try:
                key = await self._custodian.fresh(self._copy.keyring)
                self._copy.rotate(key, reencrypt=request.reencrypt)
                self._due.set()
            except files.LogError:
                raise  # the copy ends
            except errors.SixfoldError as refused:
                error = str(refused)
        return msgspec.structs.replace(self._state(), request_id=request.request_id, error=error)

    def _state(self) -> VolumeKeysAnswered:
        current = self._copy.keyring.current
        uses: dict[str, KeyUse] = {}
        layers = self._copy.layers()
        for held in (*self._copy.segments(), *layers):
            name = held.envelope.data_key_id if held.envelope is not None else ""
            before = uses.get(name)
            uses[name] = KeyUse(
                kms_key=held.envelope.kms_key if held.envelope is not None else "",
                data_key=name,
                files=1 + (before.files if before else 0),
                bytes=held.size + (before.bytes if before else 0),
                current=name == (current.id if current is not None else ""),
            )
        left = self._rewriter.stale()
        if current is not None and self._copy.keyring.reencrypt:
            left += inventory.stale(layers, current.blob)
        return VolumeKeysAnswered(
            volume=self._copy.node.volume,
            copy=self._copy.node.copy,
            request_id="",
            keys=list(uses.values()),
            left_files=len(left),
            left_bytes=sum(held.size for held in left),
            problem=self._problem if left else "",
        )

    async def run(self) -> None:
        """Write anew what is to be, for ever. Raises LogFailedError: the copy must end."""
        while True:
            await self._due.wait()
            self._due.clear()
            if stale := self._rewriter.stale():
                await self._rewrite(stale)

    async def _rewrite(self, stale: list[inventory.Held]) -> None:
        self._log.info("segments are written anew", action="volume.reencryption.begins", segments=len(stale))
        self._problem, failed = "", 0
        for held in stale:
            try:
                await self._rewrite_one(held.segment)
            except NoRoomError as error:
                self._note(error)
                await self._clock.sleep(ROOM_RETRY_S)
                self._due.set()
                return
            except files.LogDamagedError as error:
                self._note(error)
                failed += 1
        self._log.info(
            "segments were written anew",
            action="volume.reencryption.ended",
            segments=len(stale) - failed,
            failed=failed,
        )

    def _note(self, error: errors.SixfoldError) -> None:
        self._problem = str(error)
        self._log.warning("a segment is not written anew", action="volume.reencryption.failed", error=str(error))

    async def _rewrite_one(self, segment: int) -> None:
        worked = 0
        with contextlib.closing(self._rewriter.rewrite(segment)) as steps:
            for size in steps:
                worked += size
                if worked >= SLICE_BYTES:
                    await self._clock.sleep(worked / REWRITE_BYTES_PER_S)
                    worked = 0
        await self._clock.sleep(worked / REWRITE_BYTES_PER_S)
