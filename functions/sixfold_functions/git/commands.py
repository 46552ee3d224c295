"""`sixfold git …`: repositories, their commits, and git's way to the gateway's credential."""

from __future__ import annotations

import datetime
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sixfold import errors
from sixfold.cli import common
from sixfold_functions.git import client, credential

app = typer.Typer(no_args_is_help=True, help="Git repositories over smart HTTP.")


def _repositories(ctx: typer.Context) -> client.GitRepositories:
    return client.GitRepositories(common.settings(ctx).data_dir)


def _clone_url(ctx: typer.Context, name: str) -> str | None:
    url = credential.gateway_url(common.settings(ctx).data_dir)
    return f"{url}/git/{name}" if url else None


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Letters, digits, '.', '_' and '-'; at most 100.")],
    branch: Annotated[str, typer.Option(help="The default branch.")] = "main",
    fast_forward_only: Annotated[
        bool, typer.Option("--fast-forward-only", help="Refuse pushes that drop commits, and deletions.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Make an empty repository.

    Example:  sixfold git create web
    """
    path = common.run(_repositories(ctx).create(name, branch=branch, fast_forward_only=fast_forward_only))
    url = _clone_url(ctx, name)
    advice = (
        f"to push to it from a working copy: sixfold git setup . --remote {name}"
        if url
        else "start the gateway with `sixfold up` to push to it"
    )
    common.show(
        {"name": name, "path": str(path), "clone_url": url},
        as_json=as_json,
        render=lambda: f"Created repository [bold]{name}[/bold]; {advice}",
    )


@app.command("list")
def list_(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """List the repositories with their branches.

    Example:  sixfold git list
    """
    repositories = _repositories(ctx)
    rows: list[dict[str, Any]] = [
        {"name": name, "clone_url": _clone_url(ctx, name), "refs": repositories.refs(name)}
        for name in repositories.names()
    ]

    def table() -> Table:
        drawn = Table("repository", "branches", "tags", "clone")
        for row in rows:
            heads = [ref.removeprefix("refs/heads/") for ref in row["refs"] if ref.startswith("refs/heads/")]
            tags = sum(ref.startswith("refs/tags/") for ref in row["refs"])
            drawn.add_row(
                row["name"], ", ".join(heads[:5]) or "(empty)", str(tags), row["clone_url"] or "(not running)"
            )
        return drawn

    common.show(rows, as_json=as_json, render=table)


@app.command()
def log(
    ctx: typer.Context,
    name: str,
    revision: Annotated[str, typer.Argument(help="A branch, tag or commit.")] = "HEAD",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000)] = 20,
    as_json: common.JsonOption = False,
) -> None:
    """List the newest commits of a branch.

    Example:  sixfold git log web main -n 5
    """
    try:
        commits = _repositories(ctx).log(name, revision, entries_max=limit)
    except errors.SixfoldError as error:
        common.fail(error)

    def table() -> Table:
        drawn = Table("commit", "when", "author", "subject")
        for each in commits:
            when = datetime.datetime.fromtimestamp(each.authored_at_ms / 1000, datetime.UTC)
            drawn.add_row(each.commit[:12], f"{when:%Y-%m-%d %H:%M}", each.author, each.subject)
        return drawn

    common.show(commits, as_json=as_json, render=table)


@app.command("clone-url")
def clone_url(ctx: typer.Context, name: str, as_json: common.JsonOption = False) -> None:
    """Print where a repository is cloned from and pushed to.

    Example:  sixfold git clone-url web
    """
    try:
        _repositories(ctx).path(name)
    except errors.SixfoldError as error:
        common.fail(error)
    url = _clone_url(ctx, name)
    if url is None:
        common.fail(errors.UsageError("no gateway was started on this data folder; start it with `sixfold up`"))
    if as_json:
        common.line({"name": name, "clone_url": url})
    else:
        sys.stdout.write(url + "\n")


@app.command("credential")
def credential_(ctx: typer.Context, operation: Annotated[str, typer.Argument(help="get, store or erase.")]) -> None:
    """Answer git as its credential helper; `sixfold git setup` tells git about it.

    Example:  sixfold git credential get
    """
    try:
        sys.stdout.write(credential.respond(common.settings(ctx).data_dir, operation, sys.stdin))
    except errors.SixfoldError as error:
        common.fail(error)


@app.command()
def setup(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="A working copy to configure; only print it otherwise.")] = None,
    name: Annotated[
        str | None, typer.Option("--remote", help="Also add a remote `sixfold` to this repository.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Tell git to ask this command for the gateway's credential.

    Example:  sixfold git setup . --remote web
    """
    data_dir = common.settings(ctx).data_dir
    url = credential.gateway_url(data_dir)
    if url is None:
        common.fail(errors.UsageError(f"no gateway was started on {data_dir}; start it with `sixfold up`"))
    key = f"credential.{url}.helper"
    # The empty value first: no helper of the user's own (a keyring, a plain file) is given the token to store.
    changes = [["--replace-all", key, ""], ["--add", key, credential.helper(data_dir)]]
    if name is not None:
        changes.append(["remote.sixfold.url", f"{url}/git/{name}"])
        changes.append(["--replace-all", "remote.sixfold.fetch", "+refs/heads/*:refs/remotes/sixfold/*"])
    if folder is not None:
        _configure(folder, changes)
    remote = f"{url}/git/{name}" if name is not None else None
    if as_json:
        words = [["git", "config", *change] for change in changes]
        common.line({"folder": str(folder) if folder else None, "remote": remote, "commands": words})
    elif folder is None:
        sys.stdout.writelines(f"git config {shlex.join(change)}\n" for change in changes)
    else:
        push = f"; push there with: git push sixfold HEAD:main (it is {remote})" if remote else ""
        sys.stdout.write(f"git in {folder} asks Sixfold for the credential of {url}{push}\n")


def _configure(folder: Path, changes: list[list[str]]) -> None:
    for change in changes:
        done = subprocess.run(
            ["git", "-C", str(folder), "config", *change], capture_output=True, text=True, check=False
        )
        if done.returncode:
            common.fail(
                errors.UsageError(f"git config failed in {folder}: {done.stderr.strip()}; is it a working copy?")
            )
