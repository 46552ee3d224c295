"""The demonstration's data key: an issuer, a role whose policies read claims, a key, and a caller with a token."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

from sixfold.demo.shell import Shell, StepError

ISSUER = "demo"
HOST = f"{ISSUER}.sixfold.internal"
SUBJECT = "alice@example.com"
ROLE = "payments-reader"
ALIAS = "alias/payments"
CONTEXT = "topic=payments"

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"https://{HOST}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{HOST}:aud": "sixfold", f"{HOST}:team": "risk"},
                "StringLike": {f"{HOST}:sub": "*@example.com"},
            },
        }
    ],
}
PERMISSION = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:EncryptionContext:topic": "payments", "aws:PrincipalTag/team": "risk"}},
        }
    ],
}


async def issue_and_open(shell: Shell, run: str, say: Callable[[str], None]) -> str:
    """Get a data key for a token's claims and open its ciphertext; refused for other claims. Returns what was seen.

    `run` ends the key's alias and the folder's name.
    """
    alias = f"{ALIAS}{run}"
    folder = shell.data_dir / f"demo-key{run}"
    folder.mkdir(mode=0o700)
    say("an issuer, a role and a key")
    await shell.call("identity", "issuer", "create-local", ISSUER)
    (folder / "trust.json").write_text(json.dumps(TRUST, indent=2))
    (folder / "policy.json").write_text(json.dumps(PERMISSION, indent=2))
    policies = ("--trust", str(folder / "trust.json"), "--policy", str(folder / "policy.json"))
    await shell.call("identity", "role", "create", ROLE, *policies)
    await shell.call("kms", "create-key", "--alias", alias)
    caller = await _caller(shell, folder / "risk.jwt", "risk")
    blob, plain, opened = folder / "key.blob", folder / "key", folder / "key.opened"
    say("asking for a data key by an event")
    await shell.call(
        *("kms", "data-key", "--key", alias, "--context", CONTEXT, *caller, "--blob", str(blob), "--out", str(plain))
    )
    say("opening its ciphertext with the same claims")
    decrypt = (*shell.sixfold, "kms", "decrypt", str(blob), *caller)
    await shell.run(*decrypt, "--context", CONTEXT, "--out", str(opened))
    if plain.read_bytes() != opened.read_bytes() or len(plain.read_bytes()) != 32:
        raise StepError(f"the ciphertext opened to another key than was issued; see {folder}")
    if stat.S_IMODE(plain.stat().st_mode) != 0o600:
        raise StepError(f"{plain} is readable by others")
    say("trying it with another context and other claims")
    refusals = [
        await _refusal(shell, *decrypt, "--context", "topic=orders"),
        await _refusal(
            shell, *decrypt[:-4], *await _caller(shell, folder / "sales.jwt", "sales"), "--context", CONTEXT
        ),
    ]
    for path in (plain, opened):
        path.unlink()
    return f"32 bytes issued and opened again; refused: {', '.join(refusals)}"


async def _caller(shell: Shell, path: Path, team: str) -> tuple[str, ...]:
    claims = ("--issuer", ISSUER, "--sub", SUBJECT, "--claim", f"team={team}", "--out", str(path))
    await shell.run(*shell.sixfold, "identity", "token", *claims)
    return ("--role", ROLE, "--token-file", str(path))


async def _refusal(shell: Shell, *words: str) -> str:
    """The error code that `words` are refused with. Raises StepError where they are not refused."""
    try:
        await shell.run(*words)
    except StepError as refused:
        code = str(refused).partition("error:")[2].split(":")[0].strip()
        if code in ("AccessDenied", "AccessDeniedException", "InvalidCiphertextException"):
            return code
        raise
    raise StepError(f"this should have been refused: {' '.join(words[len(shell.sixfold) :])}")
