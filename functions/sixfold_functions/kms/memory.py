"""Which requests were answered, for as long as their signatures are good; older ones are refused for their age."""

from __future__ import annotations

from sixfold.context import Table

SWEEP_MS = 60_000
_PREFIX = "request/"
_SWEPT = "swept"


class Memory:
    """Answered requests among the rows of one partition."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def has(self, request_id: str) -> bool:
        """Whether the request was answered already."""
        return await self._table.get(_row(request_id)) is not None

    async def add(self, request_id: str, now_ms: int, *, keep_ms: int) -> None:
        """Remember the request; once a minute forget those that are older than `keep_ms`."""
        self._table.put(_row(request_id), now_ms)
        if now_ms - await self._table.get(_SWEPT, 0) < SWEEP_MS:
            return
        self._table.put(_SWEPT, now_ms)
        for key, answered_ms in await self._table.items():
            if key.startswith(_PREFIX) and answered_ms < now_ms - keep_ms:
                self._table.delete(key)


def _row(request_id: str) -> str:
    return _PREFIX + request_id
