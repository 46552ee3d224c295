"""`sixfold deploy …`: deployments, instances, and deploying a folder by hand."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sixfold import errors, objects
from sixfold.cli import common
from sixfold.process import Process
from sixfold_events import deploy as events
from sixfold_functions.deploy import client, pack, waiting

app = typer.Typer(no_args_is_help=True, help="Deployments to the instances of a group.")

_SOURCE = "/cli"


@app.command("list")
def list_(
    ctx: typer.Context,
    group: Annotated[str, typer.Option(help="Only those of this group.")] = "",
    as_json: common.JsonOption = False,
) -> None:
    """List deployments, the newest first.

    Example:  sixfold deploy list --group production
    """

    async def collect() -> list[events.DeploymentChanged]:
        async with common.process(ctx) as process:
            return [each for each in await client.deployments(process) if not group or each.group == group]

    rows = common.run(collect())

    def table() -> Table:
        drawn = Table()
        widest = max((len(each.deployment_id) for each in rows), default=0)
        drawn.add_column("deployment", no_wrap=True, min_width=widest)  # it is what `show` is called with
        for name in ("status", "what", "group", "created", "reason"):
            drawn.add_column(name, no_wrap=name in ("status", "reason"), overflow="ellipsis")
        for each in rows:
            what = f"{each.application} {each.revision[:8]}"
            drawn.add_row(each.deployment_id, each.status, what, each.group, _when(each.created_at_ms), each.reason)
        return drawn

    common.show(rows, as_json=as_json, render=table)


@app.command()
def show(ctx: typer.Context, deployment: str, as_json: common.JsonOption = False) -> None:
    """Show a deployment, its instances and every lifecycle event that they reported.

    Example:  sixfold deploy show d-0123456789abcdef --json
    """

    async def collect() -> dict[str, object]:
        async with common.process(ctx) as process:
            found = [each for each in await client.deployments(process) if each.deployment_id == deployment]
            if not found:
                raise errors.UsageError(f"there is no deployment {deployment!r}; `sixfold deploy list` lists all")
            return {
                "deployment": found[0],
                "targets": await client.targets(process, deployment),
                "steps": await client.steps(process, found[0]),
            }

    data = common.run(collect())
    common.show(data, as_json=as_json, render=lambda: _drawn(data))


def _drawn(data: dict[str, object]) -> Table:
    deployment, targets, steps = data["deployment"], data["targets"], data["steps"]
    assert isinstance(deployment, events.DeploymentChanged)
    assert isinstance(targets, list)
    assert isinstance(steps, list)
    title = f"{deployment.deployment_id}: {deployment.application} {deployment.revision[:12]} {deployment.status}"
    drawn = Table("instance", "status", "lifecycle event", "result", "took", "message", title=title)
    drawn.caption = deployment.reason or None
    for target in targets:
        drawn.add_row(target.instance, target.status, "", "", "", target.message)
        for step in steps:
            if step.instance == target.instance and step.status != "InProgress":
                took = f"{(step.ended_at_ms - step.started_at_ms) / 1000:.1f} s"
                drawn.add_row("", "", step.lifecycle_event, step.status, took, step.message)
    return drawn


@app.command()
def instances(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """List the instances and their groups.

    Example:  sixfold deploy instances
    """

    async def collect() -> list[events.InstanceChanged]:
        async with common.process(ctx) as process:
            return await client.instances(process)

    rows = common.run(collect())

    def table() -> Table:
        drawn = Table("instance", "group", "since", "last seen")
        for each in rows:
            drawn.add_row(each.instance, each.group, _when(each.first_seen_at_ms), _when(each.last_seen_at_ms))
        return drawn

    common.show(rows, as_json=as_json, render=table)


@app.command()
def forget(
    ctx: typer.Context,
    instance: str,
    group: Annotated[str, typer.Option(help="The group that it leaves; the one that it is known in.")] = "",
    as_json: common.JsonOption = False,
) -> None:
    """Take a dead instance out of its group; it comes back when its agent asks for commands again.

    Example:  sixfold deploy forget i-1
    """

    async def publish() -> str:
        async with common.process(ctx) as process:
            known = {each.instance: each.group for each in await client.instances(process)}
            leaves = group or known.get(instance, "")
            if not leaves:
                raise errors.UsageError(
                    f"there is no instance {instance!r}; known are: {', '.join(sorted(known)) or 'none'}"
                )
            await client.forget(process, leaves, instance, source=_SOURCE)
            return leaves

    left = common.run(publish())
    common.show(
        {"instance": instance, "group": left, "forgotten": True},
        as_json=as_json,
        render=lambda: f"Instance [bold]{instance}[/bold] is taken out of group [bold]{left}[/bold]",
    )


@app.command()
def create(
    ctx: typer.Context,
    group: Annotated[str, typer.Option(help="Deployment group.")],
    application: Annotated[str, typer.Option(help="Name of what is deployed.")],
    directory: Annotated[Path, typer.Option(help="Folder with the revision; appspec.yml lies at its top.")],
    revision: Annotated[str, typer.Option(help="Its name; the commit where it is a Git repository.")] = "",
    appspec: Annotated[str, typer.Option(help="Path of the AppSpec in it.")] = "appspec.yml",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 where it failed.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.", min=1)] = 3600.0,
    as_json: common.JsonOption = False,
) -> None:
    """Pack a folder and deploy it to every instance of a group.

    Example:  sixfold deploy create --group production --application web --directory examples/05-web-service --wait
    """

    async def ask() -> events.DeploymentRequested | events.DeploymentChanged:
        async with common.process(ctx) as process:
            artifact = await _stored(process, directory)
            wanted = events.DeploymentRequested(
                deployment_id=f"d-{uuid.uuid4().hex[:16]}",
                application=application,
                group=group,
                revision=revision or _revision(directory, artifact),
                artifact=artifact,
                appspec=appspec,
                creator="user",
            )
            await client.request(process, wanted, source=_SOURCE)
            if not wait:
                return wanted
            return await waiting.ended(process, wanted, timeout_s, None if as_json else common.errors.print)

    outcome = common.run(ask())
    failed = isinstance(outcome, events.DeploymentChanged) and outcome.status != "Succeeded"
    said = (
        f"failed: {outcome.reason}"
        if isinstance(outcome, events.DeploymentChanged) and failed
        else ("succeeded" if wait else "is asked for; `sixfold deploy list` shows how it goes")
    )
    common.show(outcome, as_json=as_json, render=lambda: f"Deployment {outcome.deployment_id} {said}")
    if failed:
        raise typer.Exit(1)


async def _stored(process: Process, directory: Path) -> str:
    store = await process.resources.get(objects.open_objects)
    with tempfile.NamedTemporaryFile(prefix="sixfold-deploy-") as file:
        pack.pack(directory, file)  # type: ignore[arg-type]
        file.flush()
        return await store.put(Path(file.name))


def _revision(directory: Path, artifact: str) -> str:
    """The commit that is checked out in `directory`, else a name made of the content."""
    git = subprocess.run(
        ["git", "-C", str(directory), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    commit = git.stdout.strip()
    return commit if git.returncode == 0 and len(commit) == 40 else hashlib.sha1(artifact.encode()).hexdigest()  # noqa: S324 (a name, no proof)


def _when(moment_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(moment_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"
