"""`sixfold topics`: what there is, what the declarations want, and making it so."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from sixfold import topic_plan
from sixfold.cli import common, listing
from sixfold.topic_plan import Plan, Step

app = typer.Typer(help="List topics; plan and apply what the declarations want.", invoke_without_command=True)

AllowOption = Annotated[
    bool, typer.Option("--allow-partitions", help="Add partitions where more are declared: keys move.")
]
_COLOURS = {"create": "green", "change": "yellow", "grow": "yellow", "conflict": "red"}


@app.callback()
def topics(ctx: typer.Context, apps: common.AppOption = None, as_json: common.JsonOption = False) -> None:
    """List topics; plan and apply what the declarations want.

    Example:  sixfold topics --json
    """
    if ctx.invoked_subcommand is None:
        listing.topics(ctx, as_json=as_json)


@app.command("ls")
def ls(ctx: typer.Context, apps: common.AppOption = None, as_json: common.JsonOption = False) -> None:
    """List every topic with its records, and how far behind each of its functions is.

    Example:  sixfold topics ls --json
    """
    listing.topics(ctx, as_json=as_json)


@app.command("plan")
def plan(
    ctx: typer.Context,
    allow_partitions: AllowOption = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show what the bus lacks of the declared topics. Exit code 1 where something is in the way.

    Example:  sixfold topics plan
    """
    _show(common.run(_planned(ctx, allow_partitions=allow_partitions, do=False)), as_json=as_json, done=False)


@app.command("apply")
def apply(
    ctx: typer.Context,
    allow_partitions: AllowOption = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Do what `plan` shows. What is in the way is left as it is, and the exit code is 1.

    Example:  sixfold topics apply
    """
    _show(common.run(_planned(ctx, allow_partitions=allow_partitions, do=True)), as_json=as_json, done=True)


async def _planned(ctx: typer.Context, *, allow_partitions: bool, do: bool) -> Plan:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        found = topic_plan.plan(common.known(ctx).topics, await bus.topics(), allow_partitions=allow_partitions)
        if do:
            await topic_plan.apply(bus, found.todo)
        return found


def _show(found: Plan, *, as_json: bool, done: bool) -> None:
    common.show(_as_json(found), as_json=as_json, render=lambda: _rendered(found, done=done))
    if found.conflicts:
        raise typer.Exit(1)


def _as_json(found: Plan) -> dict[str, Any]:
    return {
        "steps": [{"topic": step.topic, "action": step.action, **_details(step)} for step in found.steps],
        "unknown": found.unknown,
        "unchanged": found.unchanged,
    }


def _details(step: Step) -> dict[str, Any]:
    if step.action == "create":
        return {"spec": step.spec}
    changes = {name: {"before": before, "after": after} for name, (before, after) in step.changes.items()}
    return {"changes": changes, **({"why": step.why} if step.why else {})}


def _rendered(found: Plan, *, done: bool) -> RenderableType:
    parts: list[RenderableType] = []
    if found.steps:
        table = Table("Topic", "Action", "What")
        table.columns[0].overflow = table.columns[2].overflow = "fold"
        for step in found.steps:
            colour = _COLOURS[step.action]
            table.add_row(escape(step.topic), f"[{colour}]{step.action}[/{colour}]", escape(_words(step)))
        parts.append(table)
    parts.append(f"{found.unchanged} topics are as declared")
    if found.unknown:
        parts.append(f"left alone, since nothing declares them: {escape(', '.join(found.unknown))}")
    grown = [step.topic for step in found.steps if step.action == "grow"]
    if done and grown:
        parts.append(
            f"[yellow]restart what publishes to {escape(', '.join(grown))}: it knows the old partitions[/yellow]"
        )
    if not done and found.todo:
        parts.append(f"{len(found.todo)} to do; `sixfold topics apply` does it")
    return Group(*parts)


def _words(step: Step) -> str:
    spec = step.spec
    if step.action == "create":
        kept = "for ever" if spec.retention_ms is None else f"{spec.retention_ms} ms"
        return f"{spec.partitions} partitions, {spec.cleanup.value}, kept {kept}"
    changes = ", ".join(
        f"{name} {'none' if before is None else before} → {'none' if after is None else after}"
        for name, (before, after) in step.changes.items()
    )
    return f"{changes}: {step.why}" if step.why else changes
