"""`sixfold pipeline …`: executions, how they go, their logs, an end, and another try."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.live import Live

from sixfold import clock, errors, publisher
from sixfold.cli import common
from sixfold_events.pipeline import ActionFailed, PipelineRetryRequested
from sixfold_functions.pipeline import builder, show
from sixfold_functions.pipeline.history import History
from sixfold_functions.pipeline.view import ExecutionView

app = typer.Typer(no_args_is_help=True, help="Pipelines that a push starts.")
Which = Annotated[str, typer.Argument(help="An execution's id, or a repository's name for its newest execution.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended; exit code 1 if it failed.")]
Commit = Annotated[str | None, typer.Option(help="The execution of this commit; waits for it with --follow.")]
CHUNK_BYTES = 1 << 16


@app.command("list")
def list_(
    ctx: typer.Context,
    pipeline: Annotated[str | None, typer.Argument(help="Only those of this repository.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100_000)] = 50,
    as_json: common.JsonOption = False,
) -> None:
    """List executions, newest first.

    Example:  sixfold pipeline list web
    """

    async def read() -> list[ExecutionView]:
        async with common.process(ctx) as process, History(process) as history:
            found = sorted(history.view.executions.values(), key=lambda each: each.triggered_at_ms)
            return [each for each in found if pipeline in (None, each.pipeline)][-limit:]

    found = common.run(read())
    common.show(found[::-1], as_json=as_json, render=lambda: show.table(found))


@app.command("show")
def show_(
    ctx: typer.Context,
    execution: Which,
    follow: Follow = False,
    commit: Commit = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show an execution with its stages and actions.

    Example:  sixfold pipeline show web --follow
    """

    async def read() -> ExecutionView:
        async with common.process(ctx) as process, History(process) as history:
            if not follow:
                return _found(history, execution, commit)
            if as_json:
                return await _ended(history, execution, commit)
            with Live(console=common.console, auto_refresh=False, transient=True) as live:
                return await _ended(history, execution, commit, live)

    found = common.run(read())
    common.show(found, as_json=as_json, render=lambda: show.execution(found))
    if follow and found.status != "Succeeded":
        raise typer.Exit(1)


async def _ended(history: History, execution: str, commit: str | None, live: Live | None = None) -> ExecutionView:
    found = _find(history, execution, commit)
    if found is None and commit is None:
        raise _unknown(history, execution, commit)
    while found is None or not found.ended:
        if live is not None and found is not None:
            live.update(show.execution(found), refresh=True)
        await history.changes()
        found = _find(history, execution, commit)
    return found


@app.command()
def logs(
    ctx: typer.Context,
    execution: Which,
    action: Annotated[str | None, typer.Option(help="Only of this action.")] = None,
    follow: Follow = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as an object with its action.")] = False,
) -> None:
    """Print what the build commands of an execution printed.

    Example:  sixfold pipeline logs web --follow
    """

    async def read() -> ExecutionView:
        async with common.process(ctx) as process, History(process) as history:
            printed: dict[Path, int] = {}
            while True:
                found = _found(history, execution, None)
                whole = found.ended or not follow
                _print(process.data_dir, found, action, printed, as_json=as_json, whole=whole)
                if found.ended or not follow:
                    return found
                await history.changes(wait_s=0.2)

    found = common.run(read())
    if follow and found.status != "Succeeded":
        raise typer.Exit(1)


def _print(
    data_dir: Path,
    found: ExecutionView,
    wanted: str | None,
    printed: dict[Path, int],
    *,
    as_json: bool,
    whole: bool,
) -> None:
    """What the logs of the execution's actions have beyond what is printed; as JSON whole lines unless `whole`."""
    for stage in found.stages:
        for action in stage.actions:
            if not action.action_execution or wanted not in (None, action.name):
                continue
            path = builder.action_folder(data_dir, action.action_execution) / "log"
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(printed.get(path, 0))
                if as_json:
                    printed[path] = _print_lines(file, {"stage": stage.name, "action": action.name}, whole=whole)
                    continue
                while chunk := file.read(CHUNK_BYTES):
                    sys.stdout.buffer.write(chunk)
                printed[path] = file.tell()
    sys.stdout.buffer.flush()


def _print_lines(file: BinaryIO, where: dict[str, str], *, whole: bool) -> int:
    """Each line as an object; a last one that has no end yet waits unless `whole`. Where the next call goes on."""
    at = file.tell()
    while line := file.readline(CHUNK_BYTES):
        if not line.endswith(b"\n") and len(line) < CHUNK_BYTES and not whole:
            break
        common.line({**where, "text": line.removesuffix(b"\n").decode(errors="replace")})
        at += len(line)
    return at


@app.command()
def retry(ctx: typer.Context, execution: Which, as_json: common.JsonOption = False) -> None:
    """Let a failed execution go on at the action that failed.

    Example:  sixfold pipeline retry web
    """

    async def ask() -> ExecutionView:
        async with common.process(ctx) as process, History(process) as history:
            found = _found(history, execution, None)
            failed = found.failed_action()
            if found.status != "Failed":
                raise errors.UsageError(f"{found.execution} is {found.status}; only a failed execution can be retried")
            if failed is None:
                raise errors.UsageError(f"{found.execution} never began: {found.reason}; mend that and push again")
            request = PipelineRetryRequested(
                pipeline=found.pipeline,
                execution=found.execution,
                failed=failed.action_execution,
                requested_by="operator:cli",
            )
            await publisher.Publisher(process.require_bus(), source="/cli").publish(request)
            return found

    found = common.run(ask())
    common.show(
        {"execution": found.execution, "requested": True},
        as_json=as_json,
        render=lambda: f"Asked for. See how it goes: sixfold pipeline show {found.execution} --follow",
    )


@app.command()
def stop(ctx: typer.Context, execution: Which, as_json: common.JsonOption = False) -> None:
    """Fail an execution that runs, at its present action. What that began goes on to its own end, and is not heeded.

    Example:  sixfold pipeline stop web
    """

    async def ask() -> ExecutionView:
        async with common.process(ctx) as process, History(process) as history:
            found = _found(history, execution, None)
            action = found.running_action()
            if found.status != "InProgress" or action is None:
                raise errors.UsageError(f"{found.execution} is {found.status}; only one that is InProgress is stopped")
            failed = ActionFailed(
                pipeline=found.pipeline,
                execution=found.execution,
                action_execution=action.action_execution,
                reason=f"{action.name} was stopped by operator:cli",
                log_tail="",
                at_ms=clock.now_ms(process.clock),
            )
            await publisher.Publisher(process.require_bus(), source="/cli").publish(failed)
            return found

    found = common.run(ask())
    common.show(
        {"execution": found.execution, "requested": True},
        as_json=as_json,
        render=lambda: f"Asked for. See how it ends: sixfold pipeline show {found.execution} --follow",
    )


def _find(history: History, execution: str, commit: str | None) -> ExecutionView | None:
    if commit is None:
        return history.view.find(execution)
    matching = [each for each in history.view.executions.values() if each.commit.startswith(commit)]
    return next((each for each in reversed(matching) if execution in (each.pipeline, each.execution)), None)


def _found(history: History, execution: str, commit: str | None) -> ExecutionView:
    found = _find(history, execution, commit)
    if found is None:
        raise _unknown(history, execution, commit)
    return found


def _unknown(history: History, execution: str, commit: str | None) -> errors.UsageError:
    known = ", ".join(list(history.view.executions)[-3:]) or "none yet; push a commit that has a pipeline.yaml"
    of = f" of commit {commit}" if commit else ""
    return errors.UsageError(f"there is no execution {execution!r}{of}; the newest are: {known}")
