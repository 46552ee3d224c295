"""Events of Lambda's API: invocations that wait for their function, and mappings from topics to functions."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event


class FunctionInvoked(Event, topic="lambda.invocations", key="request_id"):
    """Somebody wants a function to be called, and does not wait for what it returns."""

    request_id: str
    """Names the call; what it emits derives from it."""
    function: str
    payload: str
    """The JSON text that the function is called with."""
    invoked_at_ms: int
    client_context: str = ""
    """JSON text that the caller gave beside it; empty where it gave none."""


class MappingChanged(Event, topic="lambda.mappings", key="uuid"):
    """An event source mapping is this now: a function in Lambda's shape is given the records of a topic."""

    uuid: str
    function: str
    topic: str
    consumer_group: str
    starting_position: str
    """`TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`."""
    modified_at_ms: int
    starting_timestamp_ms: int = 0
    """With `AT_TIMESTAMP`."""
    enabled: bool = True
    deleted: bool = False
    """It is gone; this word on it stays, so that everybody learns it who was away."""
    batch_size: int = 100
    batching_window_s: int = -1
    """-1 is Lambda's default of half a second."""
    filters: list[str] = msgspec.field(default_factory=list)
    """Patterns as JSON text; one of them must match."""
    retry_attempts: int = -1
    """After the first; -1 is no limit, or ten attempts where there is a destination for failures."""
    record_age_s: int = -1
    """-1 is no limit."""
    bisect: bool = False
    report_failures: bool = False
    on_failure: str = ""
    """Topic that records go to which could not be handled."""
