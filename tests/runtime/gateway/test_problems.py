"""Errors over HTTP are problem details whose status says whose turn it is."""

from __future__ import annotations

import json

import pytest

from sixfold import bus, errors
from sixfold.catalogue import UnknownNameError
from sixfold.gateway import problems
from sixfold.json_events import EventDataError, EventTooLargeError

CASES: list[tuple[Exception, int]] = [
    (problems.Problem(409, "x"), 409),
    (EventDataError("x", field="a.b"), 422),
    (EventTooLargeError("x"), 413),
    (bus.RecordTooLargeError("x"), 413),
    (UnknownNameError("x"), 404),
    (bus.UnknownTopicError("x"), 404),
    (errors.UsageError("x"), 400),
    (bus.BusUnavailableError("x"), 503),
    (bus.StorageFullError("x"), 503),
    (RecursionError("a secret of the inside"), 400),
    (TimeoutError(), 503),
    (ZeroDivisionError("a secret of the inside"), 500),
]


@pytest.mark.parametrize(("error", "status"), CASES, ids=[type(error).__name__ for error, _ in CASES])
def test_an_error_has_its_status_and_its_words(error: Exception, status: int) -> None:
    """4xx is the caller's to mend, 503 says when to come again, 500 tells nothing of the inside."""
    answer = problems.response(problems.of(error))
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["status"], answer.media_type) == (status, status, "application/problem+json")
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert body["detail"]
    assert "secret" not in body["detail"]
    if isinstance(error, EventDataError):
        assert body.get("field", "") == error.field or status == 413
