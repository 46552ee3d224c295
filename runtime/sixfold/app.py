"""A named set of functions: what `sixfold run module:app` runs."""

from __future__ import annotations

from dataclasses import dataclass

from sixfold import errors
from sixfold.function import AnyFunction


class DuplicateFunctionError(errors.SixfoldError):
    """Two functions of one app have the same name, so they would share a consumer group."""


@dataclass(frozen=True)
class App:
    """`App("orders", functions=(accept, ship))`."""

    name: str
    functions: tuple[AnyFunction, ...]

    def __post_init__(self) -> None:
        names = [function.name for function in self.functions]
        for name in names:
            if names.count(name) > 1:
                raise DuplicateFunctionError(
                    f"app {self.name}: two functions are named {name!r}; give one another name="
                )
