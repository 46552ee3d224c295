"""The root key: made once, private, and nothing opens when anything about it is odd."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support import disks

from sixfold.process import Process
from sixfold_events.registry import Registry
from sixfold_functions.kms import root, vault

CHEAP = root.Cost(memory_kib=64, iterations=1, lanes=1)
PASSPHRASE = "correct horse battery"


def test_the_first_start_makes_a_private_root_key_and_later_ones_open_it(tmp_path: Path) -> None:
    """0600 in a 0700 folder; the same key each time."""
    first = root.open_or_create(tmp_path)
    path = root.path_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    again = root.open_or_create(tmp_path)
    assert (again.id, again.derive("sts")) == (first.id, first.derive("sts"))
    assert first.derive("sts") != first.derive("session")
    assert list(path.parent.iterdir()) == [path]


def test_the_first_start_announces_the_root_key_and_no_later_one_does(tmp_path: Path) -> None:
    """Whoever starts the system is told once which file to back up; the key itself is not in the log."""
    with structlog.testing.capture_logs() as first:
        root.open_or_create(tmp_path)
    with structlog.testing.capture_logs() as later:
        root.open_or_create(tmp_path)
    [told] = first
    assert (told["action"], told["log_level"]) == ("kms.root.created", "warning")
    assert told["path"] == str(root.path_of(tmp_path))
    assert json.loads(root.path_of(tmp_path).read_text())["key"] not in str(told)
    assert later == []


async def test_a_start_that_cannot_write_its_root_key_goes_on_sealed(tmp_path: Path) -> None:
    """A full disk at the first start: each access says why, nothing is left half-made, and a later start makes it."""
    with disks.small(tmp_path / "data", size="64k") as data_dir:
        root.path_of(data_dir).parent.mkdir()
        disks.fill(data_dir / "ballast")
        process = Process(name="test", data_dir=data_dir, registry=Registry([]))
        sealed = await vault.open_vault(process)
        with pytest.raises(root.RootKeyError, match=r"cannot be written: No space left .*start this process again"):
            sealed.session_keys()
        assert list(root.path_of(data_dir).parent.iterdir()) == []
        (data_dir / "ballast").unlink()
        assert (await vault.open_vault(process)).session_keys()


@pytest.mark.parametrize("folder", ["data", "data/kms"])
def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path, folder: str) -> None:
    """Where no root key can be made, the message says what it needs."""
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / folder).write_text("in the way")
    for make in (root.create, root.open_or_create):
        with pytest.raises(root.RootKeyError, match=r"cannot be written: .* it needs room"):
            make(tmp_path / "data")


def test_a_root_key_is_never_made_over_another(tmp_path: Path) -> None:
    """Making a second one would lose every key under the first."""
    first = root.open_or_create(tmp_path)
    with pytest.raises(root.RootKeyExistsError, match="nothing was changed"):
        root.create(tmp_path)
    assert root.open_root(tmp_path).id == first.id


def test_a_passphrase_opens_what_it_sealed_and_no_other_does(tmp_path: Path) -> None:
    """Wrong passphrase: closed, and it says so."""
    root.create(tmp_path, passphrase=PASSPHRASE, cost=CHEAP)
    assert root.open_root(tmp_path, passphrase=PASSPHRASE).id == root.open_root(tmp_path, passphrase=PASSPHRASE).id
    with pytest.raises(root.RootKeyError, match="the passphrase does not open it"):
        root.open_root(tmp_path, passphrase=PASSPHRASE + " ")
    assert root.status(tmp_path).seal == "passphrase"


def test_a_sealed_root_key_does_not_open_without_a_passphrase_and_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fallback to a new key, and the message names the variable."""
    monkeypatch.delenv(root.PASSPHRASE_FILE, raising=False)
    path = root.create(tmp_path, passphrase=PASSPHRASE, cost=CHEAP)
    before = path.read_bytes()
    with pytest.raises(root.RootKeyError, match=root.PASSPHRASE_FILE):
        root.open_or_create(tmp_path)
    assert path.read_bytes() == before


def test_the_passphrase_comes_from_a_private_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never from the command line; a file that others may read is refused."""
    sealed = root.create(tmp_path, passphrase=PASSPHRASE, cost=CHEAP)
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    monkeypatch.setenv(root.PASSPHRASE_FILE, str(file))
    file.chmod(0o644)
    with pytest.raises(root.RootKeyError, match="expected 0600"):
        root.open_root(tmp_path)
    file.chmod(0o600)
    assert root.open_root(tmp_path).id
    assert PASSPHRASE.encode() not in sealed.read_bytes()


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    """What could be guessed is no seal."""
    with pytest.raises(root.RootKeyError, match="expected 12 or more"):
        root.create(tmp_path, passphrase="short", cost=CHEAP)
    assert not root.path_of(tmp_path).exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_root_key_that_others_may_read_does_not_open(tmp_path: Path, mode: int) -> None:
    """Mode is part of the promise."""
    root.open_or_create(tmp_path)
    root.path_of(tmp_path).chmod(mode)
    with pytest.raises(root.RootKeyError, match="expected 0600"):
        root.open_or_create(tmp_path)
    assert "0600" in root.status(tmp_path).problem


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "sixfold-root-v2"},
        {"seal": "hsm"},
        {"more": 1},
        {"sealed": ""},
        {"sealed": "!!!!"},
        {"salt": "AAAA"},
        {"iv": "AAAA"},
        {"cost": {"memory_kib": 10**9, "iterations": 3, "lanes": 4}},
        {"cost": {"memory_kib": 64, "iterations": 10**6, "lanes": 1}},
        {"cost": {"memory_kib": 1, "iterations": 1, "lanes": 1}},
        {"cost": {"memory_kib": 72, "iterations": 1, "lanes": 1}},
    ],
)
def test_a_changed_file_does_not_open(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Any field: closed, with a message, without exhausting the machine."""
    path = root.create(tmp_path, passphrase=PASSPHRASE, cost=CHEAP)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(root.RootKeyError):
        root.open_root(tmp_path, passphrase=PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"format":"sixfold-root-v1","seal":"none"}'])
def test_a_broken_file_does_not_open_and_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    """A truncated root key is restored by hand, never made anew."""
    root.open_or_create(tmp_path)
    root.path_of(tmp_path).write_bytes(content)
    with pytest.raises(root.RootKeyError):
        root.open_or_create(tmp_path)
    assert root.path_of(tmp_path).read_bytes() == content
