"""`sixfold functions` and `sixfold topics`: what there is."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from sixfold import bus, catalogue
from sixfold import errors as failures
from sixfold.cli import common


def functions(ctx: typer.Context, apps: common.AppOption = None, as_json: common.JsonOption = False) -> None:
    """List every function with what it consumes and emits.

    Example:  sixfold functions --json
    """
    rows = [
        {
            "name": function.name,
            "summary": function.summary,
            "on": [cls.__event__.type for cls in function.on],
            "topics": list(function.topics),
            "emits": [cls.__event__.type for cls in function.emits],
            "ordering": function.ordering,
            "concurrency": function.concurrency,
            "attempts_max": function.retry.attempts_max,
            "timeout_s": function.timeout_s,
            "dead_letter_topic": function.dead_letter_topic,
        }
        for function in common.known(ctx).functions.values()
    ]
    common.show(rows, as_json=as_json, render=lambda: _functions(rows))


def _functions(rows: list[dict[str, Any]]) -> Table:
    """Names whole even in a narrow terminal: types stand in a line that breaks between them."""
    table = Table("Function", "What it does, consumes (←) and emits (→)", show_lines=True)
    table.columns[0].no_wrap = True
    for row in rows:
        lines = [escape(row["summary"])] if row["summary"] else []
        lines.append(f"[cyan]← {escape(', '.join(row['on']))}[/cyan]")
        if row["emits"]:
            lines.append(f"[green]→ {escape(', '.join(row['emits']))}[/green]")
        table.add_row(escape(row["name"]), "\n".join(lines))
    return table


def topics(ctx: typer.Context, apps: common.AppOption = None, as_json: common.JsonOption = False) -> None:
    """List every topic with its records, and how far behind each of its functions is.

    Example:  sixfold topics --json
    """
    rows = common.run(_topics(ctx))
    common.show(rows, as_json=as_json, render=lambda: _table(rows))


async def _topics(ctx: typer.Context) -> list[dict[str, Any]]:
    known = common.known(ctx)
    async with common.process(ctx) as process:
        opened = process.require_bus()
        return [await _topic(opened, spec, known) for _, spec in sorted((await opened.topics()).items())]


async def _topic(opened: bus.Bus, spec: bus.TopicSpec, known: catalogue.Catalogue) -> dict[str, Any]:
    offsets = [await opened.offsets(bus.TopicPartition(spec.name, number)) for number in range(spec.partitions)]
    lag: dict[str, int] = {}
    for function in known.functions.values():
        if spec.name in function.topics:
            try:
                lag[function.name] = sum((await opened.lag(function.name, [spec.name])).values())
            except failures.SixfoldError:
                continue
    return {
        "name": spec.name,
        "partitions": spec.partitions,
        "records": sum(each.end - each.start for each in offsets),
        "cleanup": spec.cleanup.value,
        "retention_ms": spec.retention_ms,
        "lag": lag,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("Topic", "Partitions", "Records", "Cleanup", "Lag of its functions")
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max((len(row["name"]) for row in rows), default=0)
    table.columns[1].justify = table.columns[2].justify = "right"
    for row in rows:
        lag = ", ".join(f"{name} {records}" for name, records in row["lag"].items())
        table.add_row(escape(row["name"]), str(row["partitions"]), f"{row['records']:,}", row["cleanup"], escape(lag))
    return table
