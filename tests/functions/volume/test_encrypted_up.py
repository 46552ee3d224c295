"""An encrypted volume as a user has it: `sixfold up`, a key, appends, a rotation, processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.cli.commands import Sixfold, eventually, running

from sixfold_functions.volume.core import layout

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
MARK = "secret-payload"


class Encrypted(Sixfold):
    """Whose volume is to be under a key that is not there yet."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "SIXFOLD_VOLUME_KMS_KEY": "alias/volume"}


@pytest.fixture
def sixfold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Encrypted]:
    """The command line, and a system that starts."""
    for name in ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = Encrypted(tmp_path / "data")
    with running(made, "up", "--port", "0", "--without", "deploy.agent", ready="gateway running"):
        yield made


def told(sixfold: Sixfold, *words: str) -> Any:
    """What a command prints as JSON; None where it fails."""
    ran = sixfold.run(*words, "--json")
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def all_answer(sixfold: Sixfold) -> bool:
    status = told(sixfold, "volume", "status")
    return status is not None and status["answering"] == len(layout.COPIES)


def _backed_up(sixfold: Sixfold, last_lsn: int) -> bool:
    found = told(sixfold, "volume", "backups")
    return bool(found) and found[0]["last_lsn"] >= last_lsn


def test_up_waits_for_its_key_serves_rotates_and_comes_back_after_kill_nine(sixfold: Encrypted) -> None:
    """The copies say what they lack; with the key they start by themselves; no file of theirs holds a payload."""

    def lacking() -> bool:
        log = sixfold.data_dir / "logs" / "volume.storage.a1.log"
        return log.exists() and "sixfold kms create-key --alias alias/volume" in log.read_text()

    eventually(lacking, "a copy says that its key is not there")
    eventually(lambda: told(sixfold, "kms", "create-key", "--alias", "alias/volume"), "the key is made")
    eventually(lambda: all_answer(sixfold), "the copies start by themselves")
    sixfold.good("volume", "append", "--data", f"{MARK}-1")
    before = told(sixfold, "volume", "keys")
    assert [[use["current"] for use in each["state"]["keys"]] for each in before] == [[True]] * 6
    rotated = told(sixfold, "volume", "rotate-key", "--reencrypt")
    assert [each["state"]["left_files"] for each in rotated] == [0] * 6
    after = told(sixfold, "volume", "keys")
    names = [
        {each["copy"]: [use["data_key"] for use in each["state"]["keys"]] for each in found}
        for found in (before, after)
    ]
    assert all(len(found) == 1 and found != names[0][copy] for copy, found in names[1].items())
    system = json.loads((sixfold.data_dir / "system.json").read_text())
    for killed in ("volume.storage.a1", "volume.backup"):
        os.kill(system["processes"][killed], signal.SIGKILL)
    sixfold.good("volume", "append", "--data", f"{MARK}-2")
    eventually(lambda: all_answer(sixfold), "the copy that was killed is back")

    def records(copy: str) -> list[Any]:
        found = told(sixfold, "volume", "read", "--copy", copy)
        return found["records"] if found is not None else []

    eventually(lambda: len(records("a1")) == 2, "it has what it had, and what was written meanwhile")
    assert records("a1") == records("b1")
    eventually(lambda: _backed_up(sixfold, 2), "the backup, that was killed as well, has both records")
    assert json.loads(sixfold.good("volume", "verify", "--deep", "--json"))["findings"] == []
    rotated = told(sixfold, "volume", "rotate-backup-key", "--reencrypt")
    assert (rotated["rewritten"] > 0, rotated["left"]) == (True, [])
    verified = told(sixfold, "volume", "verify")
    assert (list(verified["keys"]), verified["findings"]) == ([rotated["data_key"]], [])
    for verb, new in (("clone", "cloned"), ("restore", "restored")):
        sixfold.good("volume", verb, new)
        _serves_its_past(sixfold, new)
    for path in [*(sixfold.data_dir / "volume").rglob("*"), *(sixfold.data_dir / "backups").rglob("*")]:
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path
    _refuses_to_be_in_plain(sixfold)
    assert "current" in sixfold.good("volume", "keys", "a1")
    assert "expected some of: a, b, c" in sixfold.bad("volume", "rotate-key", "z9", code=2)


def _serves_its_past(sixfold: Encrypted, new: str) -> None:
    """A volume with an encrypted past, under keys of its own."""
    with running(sixfold, "volume", "serve", new, ready=f"volume {new} runs"):

        def readable() -> bool:
            found = told(sixfold, "volume", "read", "--volume", new)
            return found is not None and len(found["records"]) == 2

        eventually(readable, f"{new} has both records")
        done = told(sixfold, "volume", "append", "--volume", new, "--data", f"{MARK}-3", "--timeout", "60")
        assert done["first_lsn"] == 3


def _refuses_to_be_in_plain(sixfold: Encrypted) -> None:
    """Whoever serves it without a key is told; nothing of the past is on the disk then."""
    for verb, new in (("clone", "plain-clone"), ("restore", "plain")):
        sixfold.good("volume", verb, new)
        done = Sixfold(sixfold.data_dir).spawn("volume", "serve", new, timeout_s=120)
        assert done.returncode == 1, done
        assert "has no copies in plain; name a key" in " ".join(done.stderr.split()), done
        for path in (sixfold.data_dir / "volume" / new).rglob("*"):
            assert not path.is_file() or MARK.encode() not in path.read_bytes(), path
