"""What a batch handler is given beside its events: a `Context` for each, and a way to say which of them failed::

    @function(on=OrderPlaced, emits=[OrderAccepted], batch=Batch(size=100))
    async def accept(orders: list[OrderPlaced], ctx: BatchContext) -> None:
        for index, order in enumerate(orders):
            if order.amount_cents < 0:
                ctx.fail(index, PermanentError("a negative amount"))
            else:
                ctx[index].emit(OrderAccepted(order_id=order.order_id))

What is emitted through `ctx[index]` derives from that record, since where a batch ends differs between deliveries. A
row written through one record's context is seen by the others of its partition; what a failed record wrote is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.context import Context, Table, TableReader
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.worker.partition import Partition

Item = tuple[port.Record, Partition]


class BatchContext(Sequence[Context]):
    """The contexts of a batch's records, in the order of its events; each is made when it is asked for."""

    def __init__(self, function: AnyFunction, items: Sequence[Item], process: Process, attempt: int = 1) -> None:
        self.function = function
        self.process = process
        self.attempt = attempt
        """1 for the first delivery of this batch in this process."""
        self.items = items
        self._contexts: dict[int, Context] = {}
        self._shared: dict[tuple[str, Partition], dict[str, bytes | None]] = {}
        self.failures: dict[int, BaseException] = {}
        """What `fail` was told."""

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Context: ...

    @overload
    def __getitem__(self, index: slice) -> list[Context]: ...

    def __getitem__(self, index: int | slice) -> Context | list[Context]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"the batch has records 0 to {len(self) - 1}, found {index}")
        place = index % len(self)
        if place not in self._contexts:
            self._contexts[place] = _BatchItem(self, place, self._shared)
        return self._contexts[place]

    def __iter__(self) -> Iterator[Context]:
        return (self[index] for index in range(len(self)))

    def fail(self, index: int, error: BaseException) -> None:
        """Record `index` failed with `error`, and so did those after it that must stay in order behind it.

        With ordering "partition" these are the rest of its partition, with "key" the rest of its key.
        """
        if not -len(self) <= index < len(self):
            raise errors.UsageError(f"the batch has records 0 to {len(self) - 1}, found {index}")
        self.failures.setdefault(index % len(self), error)

    @property
    def records(self) -> list[port.Record]:
        """The records as read."""
        return [record for record, _ in self.items]

    @property
    def clock(self) -> clocks.Clock:
        return self.process.clock

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger with the function and the batch's size bound."""
        logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(
            function=self.function.name, records=len(self)
        )
        return logger

    async def resource(self, opener: Callable[[Process], Any]) -> Any:
        """As `Context.resource`."""
        return await self.process.resources.get(opener)

    @property
    def used(self) -> bool:
        """Whether the handler asked for a record's context or said that one failed."""
        return bool(self._contexts or self.failures)

    def made(self, index: int) -> tuple[list[port.NewRecord], port.State]:
        """Outputs and rows of record `index`; none where the handler did not ask for its context."""
        opened = self._contexts.get(index)
        return ([], {}) if opened is None else (opened.outputs(), opened.writes())


class _BatchItem(Context):
    """A record's context in a batch: its tables are shared with the batch's other records of the partition."""

    __slots__ = ("_shared",)

    def __init__(self, batch: BatchContext, place: int, shared: dict[tuple[str, Partition], dict[str, bytes | None]]):
        record, partition = batch.items[place]
        super().__init__(batch.function, record, batch.process, partition.tables, batch.attempt)
        self.number = partition.tp.partition
        self._shared = {name: shared.setdefault((name, partition), {}) for name in batch.function.tables}

    def _open(self, name: str) -> Table:
        return _SharedTable(name, self.record.partition, self.reader, self._shared[name])


class _SharedTable(Table):
    """A table whose rows the batch's later records see; `writes` are those of one record."""

    def __init__(self, name: str, partition: int, reader: TableReader, shared: dict[str, bytes | None]) -> None:
        super().__init__(name, partition, reader)
        self._writes = shared
        self._own: dict[str, bytes | None] = {}

    def _write(self, key: str, data: bytes | None) -> None:
        super()._write(key, data)
        self._own[key] = data

    def writes(self) -> port.Rows:
        return {key.encode(): value for key, value in self._own.items()}
