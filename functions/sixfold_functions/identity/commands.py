"""`sixfold identity …`: issuers whose tokens are believed, roles that they open, tokens of a development issuer."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sixfold import errors
from sixfold.cli import common
from sixfold.process import Process
from sixfold_functions.identity import administration, core, local
from sixfold_functions.identity.directory import open_directory
from sixfold_functions.identity.private import write_private
from sixfold_functions.identity.topics import topics
from sixfold_functions.policies import policy

app = typer.Typer(no_args_is_help=True, help="Issuers, roles and tokens.")
issuer = typer.Typer(no_args_is_help=True, help="Issuers of web identity tokens.")
role = typer.Typer(no_args_is_help=True, help="Roles and their policies.")
app.add_typer(issuer, name="issuer")
app.add_typer(role, name="role")


@asynccontextmanager
async def _process(ctx: typer.Context) -> AsyncIterator[Process]:
    """A process whose bus has the topics, so that issuers and roles can be made before the first `sixfold up`."""
    async with common.process(ctx) as process:
        await process.require_bus().create_topics(topics)
        yield process


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise errors.UsageError(f"{what} {path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise errors.UsageError(f"{what} {path} is no text: {error}") from error


@issuer.command()
def add(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="The issuer's URL, exactly as the `iss` of its tokens.")],
    jwks: Annotated[Path, typer.Option(help="File with its public keys (JWKS); they are pinned.")],
    audience: Annotated[list[str], typer.Option(help="An `aud` that its tokens may have; may be given several times.")],
    as_json: common.JsonOption = False,
) -> None:
    """Believe an issuer's tokens from now on.

    Example:  sixfold identity issuer add https://login.example.com --jwks jwks.json --audience sixfold
    """

    async def run() -> None:
        async with _process(ctx) as process:
            await administration.register_issuer(process, url, audiences=audience, jwks=_text(jwks, "the JWKS"))

    common.run(run())
    common.show({"url": url, "audiences": audience}, as_json=as_json, render=lambda: f"Tokens of {url} are believed.")


@issuer.command("create-local")
def create_local(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and -.")] = "local",
    audience: Annotated[str, typer.Option(help="The `aud` of its tokens.")] = "sixfold",
    as_json: common.JsonOption = False,
) -> None:
    """Make a development issuer: a key in the data folder that signs tokens (see `sixfold identity token`).

    Example:  sixfold identity issuer create-local
    """

    async def run() -> str:
        async with _process(ctx) as process:
            url = local.url_of(name)
            jwks = local.create(process.data_dir, name)
            await administration.register_issuer(process, url, audiences=[audience], jwks=jwks)
            return url

    url = common.run(run())
    path = local.path_of(common.settings(ctx).data_dir, name)
    common.show(
        {"name": name, "url": url, "audience": audience, "key": str(path)},
        as_json=as_json,
        render=lambda: f"Tokens of [bold]{url}[/bold] are believed; whoever has {path} can sign them.",
    )


@issuer.command("list")
def list_issuers(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """List the issuers whose tokens are believed.

    Example:  sixfold identity issuer list
    """

    async def run() -> list[dict[str, Any]]:
        directory = await _directory(ctx)
        return [
            {
                "url": each.url,
                "audiences": list(each.audiences),
                "keys": [{"kid": key.key_id, "alg": key.algorithm} for key in each.keys.keys],
            }
            for each in directory.issuers.values()
        ]

    rows = common.run(run())

    def table() -> Table:
        drawn = Table("issuer", "audiences", "keys")
        for row in rows:
            keys = ", ".join(f"{key['kid']} ({key['alg']})" for key in row["keys"])
            drawn.add_row(row["url"], ", ".join(row["audiences"]), keys)
        return drawn

    common.show(rows, as_json=as_json, render=table)


@role.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Letters, digits and any of +=,.@_-; at most 64.")],
    trust: Annotated[Path, typer.Option(help="Trust policy (JSON): who may assume the role.")],
    policy_file: Annotated[Path, typer.Option("--policy", help="Permission policy (JSON): what it may do.")],
    session_s_max: Annotated[int, typer.Option(help="Longest session in seconds.")] = core.SESSION_S_MAX,
    as_json: common.JsonOption = False,
) -> None:
    """Make a role, or replace one.

    Example:  sixfold identity role create reader --trust trust.json --policy policy.json
    """

    async def run() -> str:
        async with _process(ctx) as process:
            return await administration.define_role(
                process,
                name,
                trust_policy=_text(trust, "the trust policy"),
                permission_policy=_text(policy_file, "the policy"),
                session_s_max=session_s_max,
            )

    arn = common.run(run())
    common.show({"name": name, "arn": arn}, as_json=as_json, render=lambda: f"Role [bold]{arn}[/bold] is defined.")


@role.command("list")
def list_roles(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """List the roles with the issuers that they trust.

    Example:  sixfold identity role list
    """

    async def run() -> list[dict[str, Any]]:
        directory = await _directory(ctx)
        return [
            {
                "name": each.name,
                "arn": each.arn,
                "trusts": sorted({issuer for statement in each.trust for issuer in statement.principals}),
                "allows": _actions(each.permission),
                "session_s_max": each.session_s_max,
            }
            for each in directory.roles.values()
        ]

    rows = common.run(run())

    def table() -> Table:
        drawn = Table("role", "trusts", "allows")
        for row in rows:
            drawn.add_row(row["arn"], ", ".join(row["trusts"]), ", ".join(row["allows"]))
        return drawn

    common.show(rows, as_json=as_json, render=table)


def _actions(document: policy.Policy) -> list[str]:
    allowing = (statement for statement in document if statement.effect is policy.Effect.ALLOW)
    return sorted({action for statement in allowing for action in statement.actions})


async def _directory(ctx: typer.Context) -> core.Directory:
    async with _process(ctx) as process:
        opened = await process.resources.get(open_directory)
        return await opened.current()


@app.command()
def token(
    ctx: typer.Context,
    subject: Annotated[str, typer.Option("--sub", help="Who the token is of.")],
    issuer_name: Annotated[str, typer.Option("--issuer", help="Name of the development issuer.")] = "local",
    claim: Annotated[list[str] | None, typer.Option(help="A further claim, such as team=risk.")] = None,
    audience: Annotated[str, typer.Option(help="Its `aud`.")] = "sixfold",
    lifetime_s: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds that it is good for.")] = 900,
    out: Annotated[Path | None, typer.Option(help="File to write it to (0600) instead of printing it.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Sign a web identity token with a development issuer's key. Whoever has the token can use it.

    Example:  sixfold identity token --sub alice@example.com --claim team=risk --out token.jwt
    """

    async def run() -> str:
        from sixfold import clock

        return local.token(
            common.settings(ctx).data_dir,
            issuer_name,
            subject=subject,
            audience=audience,
            claims=dict(_claim(each) for each in claim or ()),
            now_s=int(clock.SystemClock().now()),
            lifetime_s=lifetime_s,
        )

    async def write(text: str, path: Path) -> None:
        write_private(path, text.encode() + b"\n")

    text = common.run(run())
    if out is not None:
        common.run(write(text, out))
    told = {"subject": subject, "issuer": issuer_name, "audience": audience, "lifetime_s": lifetime_s}
    if as_json:
        common.line({**told, "token": text} if out is None else {**told, "file": str(out)})
    elif out is None:
        sys.stdout.write(text + "\n")


def _claim(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise errors.UsageError(f"--claim {text!r}: expected NAME=VALUE, such as team=risk")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
