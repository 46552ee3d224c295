"""Sixfold: an event-driven function framework on Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sixfold.app import App
from sixfold.breaker import Breaker
from sixfold.errors import PermanentError, SixfoldError, TemporaryError
from sixfold.function import Batch, Function, Retry, function
from sixfold.windows import Hopping, Session, Sliding, Tumbling
from sixfold_events import Event

if TYPE_CHECKING:
    from sixfold.context import Context
    from sixfold.publisher import Publisher
    from sixfold.worker.batch_context import BatchContext

__all__ = [
    "App",
    "Batch",
    "BatchContext",
    "Breaker",
    "Context",
    "Event",
    "Function",
    "Hopping",
    "PermanentError",
    "Publisher",
    "Retry",
    "Session",
    "SixfoldError",
    "Sliding",
    "TemporaryError",
    "Tumbling",
    "function",
]


def __getattr__(name: str) -> Any:
    """Names whose modules take long to import (structlog) come at first use, so that the command line starts fast."""
    if name == "Context":
        from sixfold.context import Context

        return Context
    if name == "BatchContext":
        from sixfold.worker.batch_context import BatchContext

        return BatchContext
    if name == "Publisher":
        from sixfold.publisher import Publisher

        return Publisher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
