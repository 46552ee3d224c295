"""The inside of a process that runs a CPU-bound handler: one for each of its runners (`children.py`).

It reads calls from its standard input and answers on its standard output, each a pickle behind its length; what the
handler prints goes to standard error. It ends with its parent, whose death the kernel tells it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import pickle
import signal
import struct
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sixfold import errors
from sixfold.bus import port
from sixfold.context import Context
from sixfold.function import AnyFunction, Function
from sixfold.process import Process
from sixfold.worker.batch_context import BatchContext
from sixfold_events import Event
from sixfold_events.registry import Registry

LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Handler:
    """Where a function is found by another process."""

    name: str
    module: str
    file: str | None
    path: list[str]
    """The parent's `sys.path`."""
    pickled: bytes | None = None
    """The function itself, where the module has its handler only: one in Lambda's shape."""

    @classmethod
    def of(cls, function: AnyFunction) -> Handler:
        """Of a function that is a module's attribute."""
        module = function.module
        held = vars(sys.modules[module]).values() if module in sys.modules else ()
        pickled = pickle.dumps(function) if function.raw and not any(each is function for each in held) else None
        return cls(function.name, module, getattr(sys.modules.get(module), "__file__", None), list(sys.path), pickled)


@dataclass(frozen=True)
class Call:
    """One call of the handler: an event, or a batch of them, with their records."""

    events: Any
    records: list[port.Record]
    attempt: int
    name: str
    """Of the parent's process."""
    bus_url: str
    data_dir: Path


@dataclass(frozen=True)
class Made:
    """What the handler made of one record."""

    emitted: list[Event]
    timers: dict[str, tuple[int, Event] | None]
    answer: Event | None


@dataclass(frozen=True)
class Answer:
    """What came of a call."""

    made: list[Made]
    failures: dict[int, BaseException]
    error: BaseException | None = None


class RemoteError(errors.SixfoldError):
    """A handler raised an error that cannot be sent between processes; this says what it was."""


class NoTableError(errors.FunctionBugError):
    """A CPU-bound handler opened a table; its process has none."""


class _NoRows:
    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        raise NoTableError("a CPU-bound handler has no tables; emit an event that another function folds")

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        raise NoTableError("a CPU-bound handler has no tables; emit an event that another function folds")


@dataclass(frozen=True)
class _Home:
    """What a batch's context needs of a partition."""

    tp: port.TopicPartition
    tables: _NoRows


def find(handler: Handler) -> AnyFunction:
    """The function. Raises FunctionBugError where its module has none of that name."""
    sys.path[:] = handler.path
    try:
        module = importlib.import_module(handler.module)
    except ImportError:
        if handler.file is None:
            raise
        spec = importlib.util.spec_from_file_location(handler.module, handler.file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[handler.module] = module
        spec.loader.exec_module(module)
    for value in vars(module).values():
        if isinstance(value, Function) and value.name == handler.name:
            return value
    if handler.pickled is not None:
        return cast("AnyFunction", pickle.loads(handler.pickled))  # noqa: S301 (from the parent process, through a pipe)
    raise errors.FunctionBugError(
        f"{handler.name}: a CPU-bound function must be an attribute of its module {handler.module}, so that other "
        "processes find it; define it at the top level"
    )


def answer(function: AnyFunction, call: Call) -> Answer:
    """Call the handler."""
    process = Process(name=call.name, data_dir=call.data_dir, registry=Registry(), parents_bus_url=call.bus_url)
    rows = _NoRows()
    batch: Any = None
    try:
        if function.batch is None:
            contexts = [Context(function, call.records[0], process, rows, call.attempt)]
            result = function.handler(call.events, contexts[0])
            if function.answers and isinstance(result, Event):
                contexts[0].answer(result)
            failures: dict[int, BaseException] = {}
        else:
            items: Any = [(each, _Home(port.TopicPartition(each.topic, each.partition), rows)) for each in call.records]
            batch = BatchContext(function, items, process, call.attempt)
            function.handler(call.events, batch)
            contexts, failures = list(batch), {index: sendable(each) for index, each in batch.failures.items()}
    except Exception as error:
        return Answer([], {}, sendable(error))
    return Answer([Made(list(each.emitted), each.timers, each.answered) for each in contexts], failures)


def sendable(error: BaseException) -> BaseException:
    """`error`, or a RemoteError that tells of it, with its stack as a note."""
    stack = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what this process pickled itself)
    except Exception:
        error = RemoteError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a process of its own:\n{stack}")
    return error


def read(stream: BinaryIO) -> Any:
    """The next message; None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pickle.loads(stream.read(LENGTH.unpack(head)[0]))  # noqa: S301 (from the parent process, through a pipe)


def message(value: Any) -> bytes:
    """`value` as `read` reads it."""
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def main() -> None:
    """Serve calls until the parent closes the pipe or dies."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it died before the kernel was asked to tell
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's: the parent says when to end
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    handler = read(requests)
    try:
        function = find(handler)
        ready: BaseException | None = None
    except Exception as error:
        ready = sendable(error)
    replies.write(message(ready))
    replies.flush()
    while ready is None and (call := read(requests)) is not None:
        try:
            reply = message(answer(function, call))
        except Exception as error:  # what the handler made cannot be pickled
            reply = message(Answer([], {}, RemoteError(f"what the handler made cannot be sent: {error}")))
        replies.write(reply)
        replies.flush()
