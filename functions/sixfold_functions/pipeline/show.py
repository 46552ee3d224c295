"""Executions as text: rich renderables for the command line."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from sixfold_functions.pipeline.view import ActionView, ExecutionView

MARKS = {"Succeeded": ("✔", "green"), "Failed": ("✘", "red"), "InProgress": ("●", "yellow"), "": ("·", "dim")}
LOG_LINES = 20


def table(executions: Sequence[ExecutionView]) -> Table:
    """One line for each execution, newest first."""
    drawn = Table()
    for name in ("execution", "branch", "commit", "status", "when"):
        drawn.add_column(name, no_wrap=True)
    drawn.add_column("why", overflow="fold", min_width=12)
    for each in reversed(executions):
        drawn.add_row(
            each.execution,
            escape(each.ref.removeprefix("refs/heads/")),
            each.commit[:8],
            _coloured(each.status or "Triggered"),
            _when(each.triggered_at_ms),
            escape(each.reason.partition("\n")[0][:80]),
        )
    return drawn


def execution(each: ExecutionView) -> RenderableType:
    """One execution with its stages, and the end of the log where it failed."""
    head = f"[bold]{each.execution}[/bold]  {escape(each.name)}  {each.commit[:12]} on "
    tree = Tree(f"{head}{escape(each.ref.removeprefix('refs/heads/'))}  {_coloured(each.status or 'Triggered')}")
    for stage in each.stages:
        branch = tree.add(f"{_mark(stage.status)} {escape(stage.name)}")
        for action in stage.actions:
            branch.add(f"{_mark(action.status)} {escape(action.name)} [dim]{action.category}[/dim] {_said(action)}")
    parts: list[RenderableType] = [tree]
    if each.reason:
        parts.append(Text(each.reason, style="red" if each.status == "Failed" else "dim"))
    failed = each.failed_action() if each.status == "Failed" else None
    if failed is not None and failed.log_tail:
        lines = failed.log_tail.rstrip().splitlines()[-LOG_LINES:]
        parts += [Text(f"the end of its log (all of it: sixfold pipeline logs {each.execution}):", style="dim")]
        parts += [Text("  " + line) for line in lines]
    return Group(*parts)


def _said(action: ActionView) -> str:
    took = f" [dim]{(action.ended_at_ms - action.started_at_ms) / 1000:.1f} s[/dim]" if action.ended_at_ms else ""
    return escape((action.step or action.summary or action.reason).partition("\n")[0][:100]) + took


def _mark(status: str) -> str:
    mark, colour = MARKS.get(status, ("?", "dim"))
    return f"[{colour}]{mark}[/{colour}]"


def _coloured(status: str) -> str:
    return f"[{MARKS.get(status, ('', 'dim'))[1]}]{status}[/]"


def _when(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%m-%d %H:%M:%S}"
