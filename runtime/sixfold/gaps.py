"""Offsets finished beyond the committed one, as a short text that is kept beside it, so that a restart skips them.

Kafka keeps such a text with each committed offset (its commit metadata, 4,096 bytes at most by default:
`offset.metadata.max.bytes`). The text is ``gaps:`` and base64url of LEB128 numbers, by turns how many offsets from the
last one on are not finished and how many after those are; the first count starts at the committed offset. What does
not fit is left out from the far end: those records are handled again, nothing else is lost.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

PREFIX = "gaps:"
TEXT_CHARS_MAX = 3_500
"""Room is left for what a back end adds to the text."""
_BYTES_MAX = (TEXT_CHARS_MAX - len(PREFIX)) // 4 * 3

Range = tuple[int, int]
"""Finished offsets: first, and one after the last."""


def encode(position: int, finished: Iterable[Range]) -> str:
    """The text for `finished` ranges, which rise and lie above the committed `position`; empty where there are none."""
    data = bytearray()
    last = position
    for start, end in finished:
        pair = _number(start - last) + _number(end - start)
        if len(data) + len(pair) > _BYTES_MAX:
            break
        data += pair
        last = end
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=") if data else ""


def decode(position: int, text: str) -> Sequence[Range]:
    """The ranges that `encode` put in; none where the text is another's or damaged, as no gap is a safe answer."""
    if not text.startswith(PREFIX) or len(text) > TEXT_CHARS_MAX:
        return []
    body = text[len(PREFIX) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return []
    numbers = _numbers(data)
    if numbers is None or len(numbers) % 2:
        return []
    ranges, last = [], position
    for skipped, done in zip(numbers[::2], numbers[1::2], strict=True):
        if done == 0:
            return []
        ranges.append((last + skipped, last + skipped + done))
        last += skipped + done
    return ranges


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _numbers(data: bytes) -> list[int] | None:
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(value)
            value = shift = 0
        elif shift > 63:
            return None
    return None if shift else numbers
