"""The deploy function's settings, read from the environment in this one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from sixfold.errors import UsageError
from sixfold.process import Process
from sixfold_functions.deploy import core


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long a rollout waits."""

    answer_s: float = 60.0
    """`SIXFOLD_DEPLOY_ANSWER_S`: from a command or a finished lifecycle event to the agent's next report.
    CodeDeploy gives an event five minutes to start; an agent on a long poll needs less than a second."""
    silence_s: float = 60.0
    """`SIXFOLD_DEPLOY_SILENCE_S`: an agent at work polls at least every 40 seconds; after this long it is gone."""

    @property
    def limits(self) -> core.Limits:
        return core.Limits(answer_ms=int(self.answer_s * 1000), silence_ms=int(self.silence_s * 1000))

    @property
    def restart_grace_s(self) -> float:
        """Agents have this long to find a gateway that was restarted before timers fire that ran out meanwhile."""
        return self.silence_s / 2


def read(environment: Mapping[str, str]) -> Settings:
    """Settings from `environment`. Raises UsageError for a value that is no positive number."""
    return Settings(
        answer_s=_seconds(environment, "SIXFOLD_DEPLOY_ANSWER_S", Settings.answer_s),
        silence_s=_seconds(environment, "SIXFOLD_DEPLOY_SILENCE_S", Settings.silence_s),
    )


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(f"{name} is {text!r}; expected a number of seconds above 0")
    return value


def open_settings(_process: Process) -> Settings:
    """The process's settings: `await ctx.resource(settings.open_settings)` in a handler."""
    return read(os.environ)
