"""The functions of the running system as a person reads them: for `sixfold status` and `sixfold top`."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
import msgspec
from rich.markup import escape
from rich.table import Table

from sixfold import errors
from sixfold.gateway.functions import FunctionStatus

_COLOURS = {"ok": "green", "stalled": "red", "halted": "red", "gone": "red"}
_BREAKERS = {"open": "red", "half-open": "yellow"}


class Functions(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway's `/functions` answers."""

    at_ms: int
    functions: list[FunctionStatus]


async def ask(client: httpx.AsyncClient) -> Functions:
    """The functions as the gateway sees them. Raises SixfoldError where it refuses, httpx's errors where it is silent."""
    answer = await client.get("/functions")
    if answer.status_code != 200:
        raise errors.SixfoldError(
            f"the gateway answered /functions with {answer.status_code}, expected 200: {answer.text[:300]}"
        )
    found = msgspec.json.decode(answer.content, type=Functions)
    return msgspec.structs.replace(found, functions=by_lag(found.functions))


def by_lag(functions: Iterable[FunctionStatus]) -> list[FunctionStatus]:
    """Those that are not well first, then by lag, then by name."""
    return sorted(functions, key=lambda each: (each.well, -(each.lag or 0), each.name))


def table_of(functions: Iterable[FunctionStatus]) -> Table:
    """One row a function."""
    table = Table()
    table.add_column("Function")
    table.add_column("Status")
    for name in ("Rate/s", "Lag", "Age", "p50", "p99", "Attempts", "Dead", "Restarts"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Breaker")
    table.add_column("Process")
    for each in functions:
        table.add_row(
            escape(each.name),
            _coloured(each.status, _COLOURS) + (f" {escape(each.reason)}" if each.reason else ""),
            f"{each.records_per_s:,.1f}" if each.records_per_s else "",
            "?" if each.lag is None else f"{each.lag:,}",
            "?" if each.age_s is None else seconds(each.age_s) if each.age_s else "",
            seconds(each.p50_s),
            seconds(each.p99_s),
            _count(each.attempts),
            _count(each.dead_letters),
            _count(each.restarts),
            _coloured(each.breaker, _BREAKERS),
            escape(", ".join(each.processes)),
        )
    return table


def seconds(value: float | None) -> str:
    """A duration with a unit that suits it: `1.2 ms`, `3.4 s`, `5 min`, `2 h`, `3 d`."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.1f} ms"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.1f} s"


def _count(value: int) -> str:
    return f"{value:,}" if value else ""


def _coloured(text: str, colours: dict[str, str]) -> str:
    colour = colours.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else text
