"""Epochs: which writer's word counts. A number that rises, with its writer's tag so that no two writers share one.

Two writers that start together may choose the same counter; their tags make the epochs different and ordered, as
Paxos ballots are. An epoch is one 64-bit integer: counter << 32 | tag.
"""

from __future__ import annotations

TAG_BITS = 32
NONE = 0
"""Before the first writer."""


def make(counter: int, tag: int) -> int:
    """The epoch of a writer with the random `tag` (below 2**32)."""
    assert counter >= 1, counter
    assert 0 <= tag < 1 << TAG_BITS, tag
    return counter << TAG_BITS | tag


def after(epoch: int, tag: int) -> int:
    """An epoch above `epoch` for the writer with `tag`."""
    return make(counter(epoch) + 1, tag)


def counter(epoch: int) -> int:
    """The part of an epoch that people count: 1 for the first writer."""
    return epoch >> TAG_BITS


def text(epoch: int) -> str:
    """`7.00c0ffee`, or `none`."""
    return f"{counter(epoch)}.{epoch & (1 << TAG_BITS) - 1:08x}" if epoch else "none"
