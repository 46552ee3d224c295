"""What becomes of a record: the table of `invocation.py`, row by row, and the backoff."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold import PermanentError, Retry, TemporaryError
from sixfold.context import UndeclaredEmitError, UndeclaredTableError
from sixfold.worker.invocation import (
    ABANDON,
    ACK,
    AbandonedError,
    AttemptTimeoutError,
    Halt,
    Park,
    RetryAt,
    backoff_s,
    decide,
)
from sixfold_events import DecodeError

EVEN = Retry(attempts_max=3, backoff_s=1, backoff_max_s=100, jitter=0)


def verdict(error: BaseException | None, attempt: int = 1, retry: Retry = EVEN) -> object:
    """The verdict at 1000 s."""
    return decide(retry, attempt, error, 1000.0, random.Random(0))


def test_a_handler_that_returned_is_acked() -> None:
    """No error, no doubt."""
    assert verdict(None) == ACK


@pytest.mark.parametrize("error", [PermanentError("no"), DecodeError("rubbish")])
def test_what_no_attempt_can_mend_is_parked_at_once(error: Exception) -> None:
    """The first attempt is the last one."""
    parked = verdict(error)
    assert isinstance(parked, Park)
    assert str(error) in parked.reason


@pytest.mark.parametrize(
    "error",
    [TemporaryError("later"), AttemptTimeoutError("slow"), ValueError("bug?"), asyncio.CancelledError()],
)
def test_what_may_pass_is_retried_and_parked_after_the_last_attempt(error: BaseException) -> None:
    """Unknown errors too: nobody can tell whether the event or the world was bad."""
    assert verdict(error, attempt=1) == RetryAt(1001.0, 2)
    assert verdict(error, attempt=2) == RetryAt(1002.0, 3)
    parked = verdict(error, attempt=3)
    assert isinstance(parked, Park)
    assert "attempt 3 of 3" in parked.reason


@pytest.mark.parametrize("error", [UndeclaredEmitError("emits"), UndeclaredTableError("tables")])
def test_code_that_contradicts_its_declaration_halts_its_function(error: Exception) -> None:
    """However often it was tried: no record is at fault."""
    assert isinstance(verdict(error, attempt=3), Halt)


def test_an_abandoned_attempt_is_not_counted() -> None:
    """Even the last attempt: the record says nothing of why its partition went away."""
    assert verdict(AbandonedError("revoked"), attempt=3) == ABANDON


def test_a_temporary_error_is_retried_no_sooner_than_it_asks() -> None:
    """`delay_s` is a least wait; a longer backoff still counts."""
    assert verdict(TemporaryError(delay_s=7.5)) == RetryAt(1007.5, 2)
    assert verdict(TemporaryError(delay_s=0.1)) == RetryAt(1001.0, 2)


@given(
    attempt=st.integers(1, 100_000),
    first_s=st.floats(0, 100),
    max_s=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    seed=st.integers(),
)
def test_backoff_doubles_within_its_cap_and_jitter(
    attempt: int, first_s: float, max_s: float, jitter: float, seed: int
) -> None:
    """Any attempt number, however large, waits between the computed time minus and plus the jitter."""
    retry = Retry(backoff_s=first_s, backoff_max_s=max_s, jitter=jitter)
    even_s = min(first_s * 2.0 ** min(attempt - 1, 62), max_s)
    wait_s = backoff_s(retry, attempt, random.Random(seed))
    assert even_s * (1 - jitter) - 1e-9 <= wait_s <= even_s * (1 + jitter) + 1e-9
