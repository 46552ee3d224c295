"""Objects of a backup written anew under its current data key, one by one, while it is added to and read.

A name says what an object holds, not under which key it is, so it stays: the new bytes are checked before they take the
place of the old ones, whole. A crash leaves the one or the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sixfold_functions.volume.backup import archive, objects, store
from sixfold_functions.volume.core.backup import Piece


def stale(kept: archive.Archive, *, but: Collection[Piece] = ()) -> Iterator[Piece]:
    """Objects in plain or under another data key, the log's first; `but` are not looked at. Raises StoreError."""
    current = kept.keyring.current
    for piece in [*sorted(kept.pieces), *sorted(kept.parts)]:
        if current is None or piece in but:
            continue
        try:
            envelope = kept.head(piece).envelope
        except store.ObjectMissingError:
            continue  # merged, or let go
        except objects.ObjectDamagedError:
            yield piece
            continue
        if envelope is None or envelope.data_key != current.blob:
            yield piece


def rewrite(kept: archive.Archive, piece: Piece) -> None:
    """Write `piece` anew, unless it is gone. Raises StoreError; ObjectDamagedError, KeyMissingError: it stays as it is."""
    where = f"{kept.url}: object {kept.volume}/{piece.name}"
    try:
        data = kept.store.read(piece.name)
    except store.ObjectMissingError:
        return
    writing = objects.Writing(kept.volume, kept.keyring)
    for batch in objects.batches_of(data, where, piece=piece, volume=kept.volume, keyring=kept.keyring):
        writing.add(batch)
    _, written = writing.done()
    for _ in objects.batches_of(written, where, piece=piece, volume=kept.volume, keyring=kept.keyring):
        pass
    kept.store.replace(piece.name, written)
