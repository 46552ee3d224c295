"""The commands, as a user types them, on a real system: from an issuer to a data key and a verified trail."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from sixfold.supervisor import control
from sixfold_functions.kms import root

TRUST = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Federated": "https://local.sixfold.internal"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringLike": {"local.sixfold.internal:sub": "*@example.com"}},
    },
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "risk"}},
    },
}


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs `sixfold` against one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "sixfold", "--data-dir", str(self.data_dir), *words]

    async def run(self, *words: str, **env: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *self.command(*words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **env},
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def json(self, *words: str) -> Any:
        ran = await self.run(*words, "--json")
        assert ran.code == 0, ran
        return json.loads(ran.out)

    def file(self, name: str, content: object) -> str:
        (self.folder / name).write_text(json.dumps(content))
        return str(self.folder / name)


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    """A system of the functions and the gateway."""
    shell = Shell(tmp_path)
    up = await asyncio.create_subprocess_exec(
        *shell.command("up", "--port", "0", "--without", "volume", "--without", "deploy"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not await _ready(shell.data_dir):
                assert up.returncode is None
                await asyncio.sleep(0.05)
        yield shell
    finally:
        if up.returncode is None:
            up.terminate()
        await up.wait()


async def _ready(data_dir: Path) -> bool:
    try:
        status = await control.ask(data_dir, "status")
    except Exception:
        return False
    return bool(status.processes) and all(each.state == "running" for each in status.processes)


async def test_from_an_issuer_to_a_data_key_and_a_verified_trail(shell: Shell) -> None:
    """Every command of the way; the plaintext lies in a 0600 file, and only where it was asked for."""
    await shell.json("identity", "issuer", "create-local")
    trust, policy = shell.file("trust.json", TRUST), shell.file("policy.json", POLICY)
    role = await shell.json("identity", "role", "create", "payments", "--trust", trust, "--policy", policy)
    assert [each["arn"] for each in await shell.json("identity", "role", "list")] == [role["arn"]]
    assert [each["url"] for each in await shell.json("identity", "issuer", "list")] == [
        TRUST["Statement"]["Principal"]["Federated"]  # type: ignore[index]
    ]
    key = await shell.json("kms", "create-key", "--alias", "alias/payments")
    assert [each["arn"] for each in await shell.json("kms", "keys")] == [key["arn"]]
    tokens = {team: shell.folder / f"{team}.jwt" for team in ("risk", "sales")}
    for team, path in tokens.items():
        ran = await shell.run(
            "identity", "token", "--sub", "alice@example.com", "--claim", f"team={team}", "--out", str(path)
        )
        assert (ran.code, ran.out) == (0, "")
    as_risk = ["--role", "payments", "--token-file", str(tokens["risk"]), "--context", "topic=payments"]
    first, second, blob = (shell.folder / name for name in ("first", "second", "blob"))
    made = await shell.json(
        "kms", "data-key", "--key", "alias/payments", *as_risk, "--out", str(first), "--blob", str(blob)
    )
    assert made["key_id"] == key["arn"]
    assert "plaintext" not in made
    await shell.json("kms", "decrypt", str(blob), *as_risk, "--out", str(second))
    assert first.read_bytes() == second.read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (first, second, *tokens.values())} == {0o600}
    nowhere = shell.folder / "missing" / "blob"
    lost = await shell.run("kms", "data-key", "--key", "alias/payments", *as_risk, "--blob", str(nowhere))
    assert (lost.code, f"{nowhere} cannot be written" in lost.err) == (2, True), lost
    shown = await shell.json("kms", "decrypt", made["ciphertext_blob"], *as_risk, "--show")
    assert shown["bytes"] == 32
    refused = await shell.run("kms", "decrypt", str(blob), "--role", "payments", "--token-file", str(tokens["sales"]))
    assert refused.code == 1
    assert "AccessDeniedException" in refused.err
    await audit_verifies(shell)
    status = await shell.json("kms", "status")
    assert (status["root"]["seal"], status["keys"], status["aliases"]) == ("none", 1, 1)


async def audit_verifies(shell: Shell) -> None:
    report = await shell.json("audit", "verify")
    assert report["problems"] == []
    lines = (await shell.run("audit", "tail", "-n", "1000", "--json")).out.splitlines()
    assert len(lines) == report["links"]
    assert any(json.loads(line)["error_code"] == "AccessDeniedException" for line in lines)
    exported = shell.folder / "links"
    exported.write_text("\n".join(lines))
    heads = [word for head in report["heads"].values() for word in ("--head", head)]
    assert (await shell.run("audit", "verify", "--file", str(exported), *heads)).code == 0
    exported.write_text("\n".join(lines[:-1]))
    cut = await shell.run("audit", "verify", "--file", str(exported), *heads)
    assert cut.code == 1
    assert "missing" in cut.out


async def test_bad_input_is_said_clearly_and_changes_nothing(tmp_path: Path) -> None:
    """No system, no token, a policy that trusts everybody, private keys in a JWKS: exit code and what to do."""
    shell = Shell(tmp_path)
    anybody = {**TRUST, "Statement": {**TRUST["Statement"], "Condition": {}}}  # type: ignore[dict-item]
    trust, policy = shell.file("trust.json", anybody), shell.file("policy.json", POLICY)
    wanted = [
        (["identity", "role", "create", "r", "--trust", trust, "--policy", policy], "every token of it would do"),
        (["identity", "role", "create", "r", "--trust", str(tmp_path / "none"), "--policy", policy], "cannot be read"),
        (["identity", "issuer", "add", "https://i", "--jwks", trust, "--audience", "a"], "keys"),
        (["identity", "token", "--sub", "a"], "create-local"),
        (["kms", "create-key"], "sixfold up"),
        (["kms", "data-key", "--key", "alias/a", "--role", "r"], "--token-file"),
        (["audit", "verify", "--head", "x"], "CHAIN:SEQ:HASH"),
        (["kms", "decrypt", "a" * 700 + "%"], "neither a file nor base64"),
        (["kms", "decrypt", "\u00e4"], "neither a file nor base64"),
        (["kms", "decrypt", "A" * 700], "sixfold up"),
    ]
    for words, message in wanted:
        ran = await shell.run(*words)
        assert ran.code == 2, ran
        assert message in ran.err
        assert "Traceback" not in ran.err
    assert await shell.json("identity", "role", "list") == []
    assert await shell.json("identity", "issuer", "list") == []


async def test_a_folder_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    """A root key or an issuer's key that cannot be made is the user's to mend, not a fault in Sixfold."""
    shell = Shell(tmp_path)
    shell.data_dir.mkdir()
    for folder in ("kms", "identity"):
        (shell.data_dir / folder).write_text("in the way")
    for words in (["kms", "init", "--key-file"], ["identity", "issuer", "create-local"]):
        ran = await shell.run(*words)
        assert ran.code in (1, 2), ran
        assert "cannot be written: " in ran.err
        assert "fault" not in ran.err


async def test_a_root_key_is_sealed_by_a_passphrase_from_a_file(tmp_path: Path) -> None:
    """`kms init` makes it once; the passphrase is never on the command line and never in the sealed file."""
    shell = Shell(tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery")
    refused = await shell.run("kms", "init", "--passphrase-file", str(passphrase))
    assert "0600" in refused.err
    passphrase.chmod(0o600)
    sealed = root.path_of(shell.data_dir)
    made = await shell.json("kms", "init", "--passphrase-file", str(passphrase))
    assert made == {"path": str(sealed), "seal": "passphrase"}
    assert b"horse" not in sealed.read_bytes()
    again = await shell.run("kms", "init", "--passphrase-file", str(passphrase))
    assert again.code == 1
    assert "nothing was changed" in again.err
    sealed.chmod(0o644)
    unusable = await shell.run("kms", "status", "--json")
    assert unusable.code == 1
    assert "0600" in msgspec.json.decode(unusable.out)["root"]["problem"]
