"""Moments as people write them: ISO 8601, in UTC or with their offset."""

from __future__ import annotations

import datetime

from sixfold import errors

_EXAMPLE = "2026-11-25T12:00:03Z"


def text(ms: int) -> str:
    """Unix milliseconds in UTC; the milliseconds where there are any. `never` for 0."""
    if not ms:
        return "never"
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def ms(text: str) -> int:
    """Unix milliseconds of `text`. Raises UsageError."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise errors.UsageError(f"{text!r} is no moment; expected one such as {_EXAMPLE}") from None
    if moment.tzinfo is None:
        raise errors.UsageError(f"{text} may be anywhere in the world; end it with Z or an offset, such as {_EXAMPLE}")
    found = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return found // datetime.timedelta(milliseconds=1)
