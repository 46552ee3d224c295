"""A named set of functions: what `sixfold run module:app` runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sixfold import errors
from sixfold.function import AnyFunction
from sixfold_events.registry import Registry
from sixfold_events.system import RequestFailed

if TYPE_CHECKING:
    from sixfold.requesting import Client


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

    @contextlib.asynccontextmanager
    async def client(self, bus_url: str = "embedded:", *, data_dir: Path | None = None) -> AsyncIterator[Client]:
        """A client that publishes to the app's functions and asks them::

            async with app.client() as client:
                accepted = await client.request(OrderPlaced(order_id="o-1", amount_cents=1999), timeout_s=5)

        `data_dir` is the system's data folder, `./.sixfold` unless given. Raises what `open_bus` and entering it raise.
        """
        from sixfold.bus import open_bus
        from sixfold.requesting import Client

        classes = [cls for each in self.functions for cls in (*each.on, *each.emits, *each.answers)]
        registry = Registry([*classes, RequestFailed])
        async with (
            open_bus(bus_url, data_dir=data_dir or Path(".sixfold")) as bus,
            Client(bus, registry, source=f"/apps/{self.name}") as client,
        ):
            yield client
