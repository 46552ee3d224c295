"""Sixfold: an event-driven function framework on Kafka."""

from sixfold.app import App
from sixfold.context import Context
from sixfold.errors import PermanentError, SixfoldError, TemporaryError
from sixfold.function import Function, Retry, function
from sixfold.publisher import Publisher
from sixfold_events import Event

__all__ = [
    "App",
    "Context",
    "Event",
    "Function",
    "PermanentError",
    "Publisher",
    "Retry",
    "SixfoldError",
    "TemporaryError",
    "function",
]
