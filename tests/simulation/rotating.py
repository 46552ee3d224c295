"""Data keys that change while a volume lives, and segments that are written anew under them, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files
from sixfold_functions.volume.encryption.rewriting import NoRoomError

if TYPE_CHECKING:
    from tests.simulation.world import World


EVERY = 3
"""One life of so many has copies that are encrypted at rest, rotate their keys and write segments anew."""


def encrypted(seed: int) -> bool:
    """Whether a life is one of those."""
    return seed % EVERY == 0


class Rotation:
    """Of the copies of a world that are encrypted at rest."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: dict[str, tuple[copies.Copy, Iterator[int] | None]] = {}
        """Which process writes a segment anew, and how far it is."""

    def happenings(self) -> list[tuple[float, Callable[[], None]]]:
        """With their weights in a life; none where nothing is encrypted."""
        return [(0.3, self.rotate), (4, self.rewrite)] if self._world.keys else []

    def rotate(self) -> None:
        """A copy takes a new data key, and is to write everything anew under it."""
        if self._world.copies:
            self._world.hits["data key rotated"] += 1
            self._rotate(self._world.rng.choice(sorted(self._world.copies)))

    def _rotate(self, copy: str) -> None:
        try:
            self._world.copies[copy].rotate(self._world.keys[copy].fresh(), reencrypt=True)
        except files.LogError as error:
            self._world.broken(copy, error)

    def rewrite(self) -> None:
        """Some steps of what a copy is to write anew; what a crash leaves of them the next process takes away."""
        if self._world.copies:
            self._rewrite(self._world.rng.choice(sorted(self._world.copies)), self._world.rng.choice([1, 3, 10]))

    def _rewrite(self, copy: str, steps: int) -> None:
        made, (process, work) = self._world.copies[copy], self._running.get(copy, (None, None))
        try:
            if process is not made:
                made.rewriter().tidy()
                work = None
            if work is None:
                stale = made.rewriter().stale()
                if not stale:
                    return
                work = made.rewriter().rewrite(self._world.rng.choice(stale).segment)
            self._running[copy] = made, work
            for _ in range(steps):
                next(work)
        except StopIteration:
            self._world.hits["segment written anew"] += 1
            self._running[copy] = made, None
        except (files.LogDamagedError, NoRoomError):  # it stays as it is, until somebody reads it
            self._running[copy] = made, None
        except files.LogError as error:
            self._world.broken(copy, error)
