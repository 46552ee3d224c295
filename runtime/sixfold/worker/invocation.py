"""What becomes of a record after an attempt: the sans-I/O heart of the worker. `member.py` carries the verdict out.

The rule is the table `RULES`; its first row whose error class fits decides:

==========================  ================================================================================
the attempt                 the verdict
==========================  ================================================================================
returned                    `Ack`: the record is done
was abandoned               `Abandon`: a rebalance or a shutdown ended it; not counted, delivered again
`FunctionBugError`          `Halt`: the code contradicts its declaration; the function stops and says so
`PermanentError`            `Park` at once
`DecodeError`               `Park` at once: no attempt can make the bytes an event
`TemporaryError`            `RetryAt`, no sooner than its `delay_s`; `Park` after the last attempt
took longer than timeout_s  `RetryAt`; `Park` after the last attempt
raised anything else        `RetryAt`; `Park` after the last attempt
==========================  ================================================================================

A batch that may be bisected is tried in halves wherever one record would be tried again or parked. A parked record is
in the function's dead-letter topic before its offset is committed. Attempts are counted per process: a record that is
delivered again after a crash begins with attempt 1.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import NamedTuple

from sixfold import errors
from sixfold.function import Retry
from sixfold_events import DecodeError


class AttemptTimeoutError(errors.TemporaryError):
    """An attempt took longer than the function's `timeout_s` and was cancelled."""


class AbandonedError(errors.SixfoldError):
    """An attempt was ended because its partition went away or the process stops; it says nothing of the record."""


@dataclass(frozen=True)
class Ack:
    """The record is done: settle what the handler emitted and wrote, and its offset."""


@dataclass(frozen=True)
class RetryAt:
    """Try again as attempt number `attempt`, no sooner than `at_s` on the monotonic clock."""

    at_s: float
    attempt: int


@dataclass(frozen=True)
class Bisect:
    """Try the two halves of a batch apart, no sooner than `at_s`; that spends no attempt."""

    at_s: float


@dataclass(frozen=True)
class Park:
    """Move the record to the dead-letter topic, because of `reason`."""

    reason: str


@dataclass(frozen=True)
class Halt:
    """Stop the function at this record, because of `reason`."""

    reason: str


@dataclass(frozen=True)
class Abandon:
    """Forget the attempt; whoever owns the partition next gets the record."""


Verdict = Ack | RetryAt | Bisect | Park | Halt | Abandon
ACK = Ack()
ABANDON = Abandon()


class Rule(enum.Enum):
    """What an error means for its record."""

    ABANDON = "abandon"
    HALT = "halt"
    PARK = "park"
    RETRY = "retry"


class Row(NamedTuple):
    """One row of the table."""

    error: type[BaseException]
    rule: Rule


RULES: tuple[Row, ...] = (
    Row(AbandonedError, Rule.ABANDON),
    Row(errors.FunctionBugError, Rule.HALT),
    Row(errors.PermanentError, Rule.PARK),
    Row(DecodeError, Rule.PARK),
    Row(errors.TemporaryError, Rule.RETRY),
    Row(BaseException, Rule.RETRY),
)


def rule_of(error: BaseException) -> Rule:
    """The rule of the first row that fits `error`."""
    return next(row.rule for row in RULES if isinstance(error, row.error))


def decide(
    retry: Retry,
    attempt: int,
    error: BaseException | None,
    now_s: float,
    rng: random.Random,
    *,
    age_s: float = 0.0,
    bisect: bool = False,
) -> Verdict:
    """The verdict on attempt number `attempt` (1 and up) that ended at `now_s` with `error` (None: it returned).

    The record is `age_s` old now. With `bisect` it is on a batch whose halves may be tried apart, to find out which records are at fault.
    """
    if error is None:
        return ACK
    rule = rule_of(error)
    if rule is Rule.ABANDON:
        return ABANDON
    if rule is Rule.HALT:
        return Halt(describe(error))
    if rule is Rule.PARK:
        return Bisect(now_s) if bisect else Park(describe(error))
    if bisect:
        return Bisect(now_s + backoff_s(retry, attempt, rng))
    if attempt >= retry.attempts_max:
        return Park(f"attempt {attempt} of {retry.attempts_max} failed: {describe(error)}")
    wait_s = backoff_s(retry, attempt, rng)
    if isinstance(error, errors.TemporaryError) and error.delay_s is not None:
        wait_s = max(wait_s, error.delay_s)
    if retry.age_max_s is not None and age_s + wait_s > retry.age_max_s:
        return Park(f"it would be older than age_max_s={retry.age_max_s:g} at the next attempt: {describe(error)}")
    return RetryAt(now_s + wait_s, attempt + 1)


def backoff_s(retry: Retry, attempt: int, rng: random.Random) -> float:
    """The wait after failed attempt number `attempt`: doubling from `backoff_s`, capped, plus or minus the jitter."""
    # The exponent is capped too: 2.0 ** 1024 overflows, and attempts_max may be anything.
    doubled = retry.backoff_s * 2.0 ** min(attempt - 1, 62)
    return min(doubled, retry.backoff_max_s) * rng.uniform(1 - retry.jitter, 1 + retry.jitter)


def describe(error: BaseException) -> str:
    """`error` in one line: its class and its message."""
    message = str(error).strip()
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
