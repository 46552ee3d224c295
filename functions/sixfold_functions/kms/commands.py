"""`sixfold kms …`: the root key, keys and aliases, data keys for role claims."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from sixfold import errors
from sixfold.cli import common
from sixfold.follower import Follower
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import client, keyring, root, trail
from sixfold_functions.kms.topics import topics

app = typer.Typer(no_args_is_help=True, help="Keys, and data keys for role claims.")

RoleOption = Annotated[
    str | None, typer.Option("--role", help="Role to assume; the operator asks where none is named.")
]
TokenOption = Annotated[Path | None, typer.Option("--token-file", help="File with the web identity token (JWT).")]
ContextOption = Annotated[
    list[str] | None, typer.Option("--context", help="A pair of the encryption context, such as topic=payments.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="File to write the plaintext key to (0600).")]
ShowOption = Annotated[bool, typer.Option("--show", help="Print the plaintext key, base64.")]


@app.command()
def init(
    ctx: typer.Context,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File (0600) with the passphrase; asked for where none is named.")
    ] = None,
    key_file: Annotated[bool, typer.Option("--key-file", help="No passphrase: the file itself is the key.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Make the root key, sealed by a passphrase. Without this, the first start makes an unsealed one.

    Example:  sixfold kms init --passphrase-file passphrase.txt
    """

    async def run() -> Path:
        data_dir = common.settings(ctx).data_dir
        if key_file:
            return root.create(data_dir)
        if passphrase_file:
            return root.create(data_dir, passphrase=root.read_passphrase(passphrase_file))
        return root.create(data_dir, passphrase=typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True))

    path = common.run(run())
    needs = "" if key_file else f" Starts need {root.PASSPHRASE_FILE}=FILE, a 0600 file with the passphrase."
    common.show(
        {"path": str(path), "seal": "none" if key_file else "passphrase"},
        as_json=as_json,
        render=lambda: f"The root key is in {path}; back it up, nothing can be opened without it.{needs}",
    )


@app.command()
def status(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """Say how the root key is kept, and how many keys there are. Exit code 1 where the root key is not usable.

    Example:  sixfold kms status
    """
    found = root.status(common.settings(ctx).data_dir)
    ring = common.run(_ring(ctx))
    counted = [(len(region.keys), len(region.aliases)) for region in ring.regions()]
    keys_, aliases_ = sum(each[0] for each in counted), sum(each[1] for each in counted)
    data = {"root": found, "keys": keys_, "aliases": aliases_}

    def draw() -> str:
        if found.problem:
            return f"[red]not usable[/red]: {found.problem}"
        if not found.exists:
            return f"no root key yet; the first start makes {found.path}"
        kept = "sealed by a passphrase" if found.seal == "passphrase" else "a key file, not sealed"
        return f"root key: {found.path} ({kept}); {keys_} keys, {aliases_} aliases"

    common.show(data, as_json=as_json, render=draw)
    if found.problem:
        raise typer.Exit(1)


@app.command("create-key")
def create_key(
    ctx: typer.Context,
    alias: Annotated[str, typer.Option(help="Its name, such as alias/payments.")] = "",
    description: Annotated[str, typer.Option()] = "",
    as_json: common.JsonOption = False,
) -> None:
    """Make a key.

    Example:  sixfold kms create-key --alias alias/payments
    """

    async def run() -> str:
        async with _kms(ctx, None, None) as kms:
            return await kms.create_key(alias=alias, description=description)

    arn = common.run(run())
    named = f" ({alias})" if alias else ""
    common.show({"arn": arn, "alias": alias}, as_json=as_json, render=lambda: f"Made [bold]{arn}[/bold]{named}.")


@app.command()
def keys(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """List keys with their aliases.

    Example:  sixfold kms keys
    """
    ring = common.run(_ring(ctx))
    rows: list[dict[str, Any]] = [
        {
            "arn": keyring.key_arn(key),
            "aliases": list(region.aliases_of(key.key_id)),
            "spec": key.spec,
            "usage": key.usage,
            "state": key.state,
            "description": key.description,
            "created": trail.time(key.created_at_ms),
        }
        for region in ring.regions()
        for key in region.keys.values()
    ]

    def table() -> Table:
        drawn = Table("key", "aliases", "spec", "state", "created")
        for row in rows:
            drawn.add_row(row["arn"], ", ".join(row["aliases"]), row["spec"], row["state"], row["created"])
        return drawn

    common.show(rows, as_json=as_json, render=table)


@app.command("data-key")
def data_key(
    ctx: typer.Context,
    key: Annotated[str, typer.Option("--key", help="Key id, ARN or alias.")],
    role: RoleOption = None,
    token_file: TokenOption = None,
    context: ContextOption = None,
    number_of_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1024)] = 32,
    blob: Annotated[Path | None, typer.Option(help="File to write the ciphertext blob to.")] = None,
    out: OutOption = None,
    show: ShowOption = False,
    as_json: common.JsonOption = False,
) -> None:
    """Get a data key. The ciphertext blob is printed; the plaintext goes where --out or --show says, else nowhere.

    Example:  sixfold kms data-key --key alias/payments --context topic=payments --show
    """

    async def run() -> client.DataKey:
        async with _kms(ctx, role, token_file) as kms:
            made = await kms.generate_data_key(key, _context(context), number_of_bytes=number_of_bytes)
        if blob:
            _write(blob, made.ciphertext_blob)
        if out:
            identity.write_private(out, made.plaintext)
        return made

    made = common.run(run())
    text = base64.b64encode(made.ciphertext_blob).decode()
    data = {"key_id": made.key_id, "ciphertext_blob": text}
    if show:
        data["plaintext"] = base64.b64encode(made.plaintext).decode()
    common.show(data, as_json=as_json, render=lambda: "\n".join(f"{name}: {value}" for name, value in data.items()))


@app.command()
def decrypt(
    ctx: typer.Context,
    blob: Annotated[str, typer.Argument(help="The ciphertext blob: a file, or its base64.")],
    role: RoleOption = None,
    token_file: TokenOption = None,
    context: ContextOption = None,
    key: Annotated[str, typer.Option("--key", help="The key that it must be of.")] = "",
    out: OutOption = None,
    show: ShowOption = False,
    as_json: common.JsonOption = False,
) -> None:
    """Open a ciphertext blob. The plaintext goes where --out or --show says, else the call only says that it can.

    Example:  sixfold kms decrypt blob.bin --context topic=payments --show
    """

    async def run() -> bytes:
        sealed, pairs = _blob(blob), _context(context)
        async with _kms(ctx, role, token_file) as kms:
            plaintext = await kms.decrypt(sealed, pairs, key_id=key)
        if out:
            identity.write_private(out, plaintext)
        return plaintext

    plaintext = common.run(run())
    data: dict[str, Any] = {"bytes": len(plaintext)}
    if show:
        data["plaintext"] = base64.b64encode(plaintext).decode()
    common.show(data, as_json=as_json, render=lambda: f"It opens: {', '.join(f'{k} {v}' for k, v in data.items())}.")


@asynccontextmanager
async def _kms(ctx: typer.Context, role: str | None, token_file: Path | None) -> AsyncIterator[client.KmsClient]:
    """A client in the name of a role, or of the operator. The token comes from a file, never from the command line."""
    if bool(role) != bool(token_file):
        raise errors.UsageError("--role and --token-file belong together: the token proves who may assume the role")
    async with await common.gateway_client(ctx) as gateway:
        if role and token_file:
            token = _token(token_file)
            # The operator's credential has no part in this: the token is the proof.
            async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=30) as http:
                credentials = await identity.assume_role(http, role=role, token=token, duration_s=900)
        else:
            credentials = await identity.operator_credentials(gateway)
    async with common.process(ctx) as process, client.KmsClient(process.require_bus(), credentials) as kms:
        yield kms


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"the token {path} cannot be read: {error}") from error


async def _ring(ctx: typer.Context) -> keyring.Keyring:
    ring = keyring.Keyring()
    async with common.process(ctx) as process:
        await process.require_bus().create_topics(topics)
        follower = Follower(process, "kms.keys", ring.apply)
        try:
            await follower.catch_up()
        finally:
            await follower.close()
    return ring


def _context(pairs: list[str] | None) -> dict[str, str]:
    context: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name or name in context:
            raise errors.UsageError(f"--context {pair!r}: expected NAME=VALUE, each name once")
        context[name] = value
    return context


def _blob(text: str) -> bytes:
    if os.path.isfile(text):  # never raises: base64 may be too long for a path
        try:
            return Path(text).read_bytes()
        except OSError as error:
            raise errors.UsageError(f"{text} cannot be read: {error.strerror}") from error
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise errors.UsageError(f"{text[:60]!r} is neither a file nor base64") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror}; name a file that can be") from error
