"""The words for failure that every module shares; an error of one room lives beside the code that raises it."""

from __future__ import annotations


class SixfoldError(Exception):
    """Base of every error that Sixfold raises on purpose: says what was expected, what was found, what to do."""


class UsageError(SixfoldError):
    """The command or the call was given something that it cannot use; nothing was changed."""


class TemporaryError(SixfoldError):
    """A handler raises it when trying again later may help.

    `delay_s` is the least time to wait before the next attempt; None leaves it to the function's `Retry`.
    """

    def __init__(self, message: str = "", *, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class PermanentError(SixfoldError):
    """A handler raises it when no further attempt can help: the record goes to the dead-letter topic at once."""


class FunctionBugError(SixfoldError):
    """A function's code contradicts its declaration: no record is at fault, so none is parked or passed.

    Its worker stops and says so; it goes on from the same record once the code is mended and the process restarted.
    """
