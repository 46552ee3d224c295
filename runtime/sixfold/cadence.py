"""When a function that runs by the clock is due: cron expressions and intervals. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass

import cronsim

from sixfold import errors


class CadenceError(errors.SixfoldError, ValueError):
    """An expression that names no time; the message says what was expected."""


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields (minute, hour, day, month, weekday) as Debian's cron reads it.

    Where the clocks change, jobs of that hour run once, as there.
    """

    expression: str
    timezone: str = "UTC"
    """A name of the IANA database, such as `Europe/Berlin`."""

    def __post_init__(self) -> None:
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise CadenceError(f"unknown time zone {self.timezone!r}; expected one such as Europe/Berlin") from error
        if len(self.expression.split()) != 5:
            raise CadenceError(
                f"{self.expression!r} has {len(self.expression.split())} fields, expected 5: minute hour day month weekday"
            )
        try:
            cronsim.CronSim(self.expression, datetime.datetime(2014, 11, 12, tzinfo=datetime.UTC))
        except cronsim.CronSimError as error:
            raise CadenceError(f"{self.expression!r} is no cron expression ({error}); such as '0 3 * * *'") from error

    def next_ms(self, after_ms: int) -> int:
        """The first time after `after_ms`, both in Unix milliseconds. Raises CadenceError where none comes in 50 years."""
        after = datetime.datetime.fromtimestamp(after_ms / 1000, zoneinfo.ZoneInfo(self.timezone))
        try:
            found = next(cronsim.CronSim(self.expression, after))
        except StopIteration:
            raise CadenceError(f"{self.expression!r} names no time in the next 50 years") from None
        return round(found.timestamp() * 1000)

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"


@dataclass(frozen=True)
class Interval:
    """Every so many seconds, counted from 1 January 1970, so that all agree without talking to each other."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0.1 <= self.seconds <= 366 * 86400:
            raise CadenceError(f"every {self.seconds:g} s; expected 0.1 s to a year")

    def next_ms(self, after_ms: int) -> int:
        """The first multiple of the interval after `after_ms`."""
        step = round(self.seconds * 1000)
        return (after_ms // step + 1) * step

    def __str__(self) -> str:
        return f"{self.seconds:g} s"


Cadence = Cron | Interval


def of(every: str | datetime.timedelta | Cadence) -> Cadence:
    """A cadence from what a declaration may say: a cron expression in UTC, a time between two calls, or a cadence."""
    if isinstance(every, str):
        return Cron(every)
    if isinstance(every, datetime.timedelta):
        return Interval(every.total_seconds())
    return every
