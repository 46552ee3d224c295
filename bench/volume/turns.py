"""Rounds in which every side has its turn, and gives several figures at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bench.runtime.environments import InstallError
from bench.runtime.sides import SideError
from bench.volume.debian import PeerMissingError

FAILED = "failed"
"""Begins the reason for a result that ought to be there."""

Figures = Mapping[str, float]
Turn = Callable[[], Awaitable[Figures]]


async def taken(
    sides: Mapping[str, Turn], rounds: int, note: Callable[[str], None] = print
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Each side's turn once a round: every figure's values in the order of the rounds, and why a side has none.

    A side that fails, or is not to be had on this machine, is not asked again; the others go on.
    """
    values: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    for number in range(rounds):
        for name, turn in sides.items():
            if name in missing:
                continue
            try:
                found = await turn()
            except (PeerMissingError, InstallError, SideError) as error:
                missing[name] = f"{FAILED}: {error}" if isinstance(error, SideError) else str(error)
                note(f"  {name}: {missing[name]}")
                continue
            for figure, value in found.items():
                values.setdefault(f"{name}_{figure}", []).append(value)
                note(f"  round {number + 1} {f'{name}_{figure}':28} {value:>12,.4g}")
    return values, missing
