"""What must hold of a volume, and the error that says that something did not."""

from __future__ import annotations

INVARIANTS = {
    "I1": "what a client was told is durable stays, with the same bytes",
    "I2": "what is durable never goes back, and an epoch begins with all that earlier ones acknowledged",
    "I3": "no two copies have different bytes for a durable record",
    "I4": "a replica's state at a consistency point is that of the durable records, and is never ahead of them",
    "I5": "restored to any moment it is what was durable then, once that moment was called restorable",
    "I6": "a writer that another one has followed never gets an acknowledgement again",
    "I7": "once all is well a write succeeds, and all six copies have everything",
    "I8": "copies are level without a writer, unless a recovery was under way",
    "I9": "a page is what the durable records up to the read point make of it",
}


class ViolationError(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, found: str) -> None:
        super().__init__(f"{invariant} ({INVARIANTS[invariant]}): {found}")
        self.invariant = invariant
