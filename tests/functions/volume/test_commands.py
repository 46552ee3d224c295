"""`sixfold volume …` as typed, against a running system: six storage processes, the writer, the supervisor."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.cli.commands import Sixfold, eventually, running, until

from sixfold_functions.volume.core import layout

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture
def sixfold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sixfold]:
    """The command line, with the volume's part of the system up."""
    for name in ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = Sixfold(tmp_path / "data")
    words = "up", "--port", "0", "--without", "gateway", "--without", "deploy.agent"
    with running(made, *words, ready="Sixfold is up"):
        yield made


def test_the_volume_from_the_command_line(sixfold: Sixfold, tmp_path: Path) -> None:
    """One system, and everything that a user does with it: append, read, stop a zone, lose the quorum, start again."""
    _appends_and_reads(sixfold)
    _follows(sixfold)
    _many_records(sixfold, tmp_path)
    _wrong_input_changes_nothing(sixfold, tmp_path)
    _a_zone_stops(sixfold)
    _the_quorum_is_lost(sixfold, tmp_path)
    _all_start_again(sixfold)
    _backups_are_restored(sixfold, tmp_path)
    _damage_to_a_backup_is_named(sixfold, tmp_path)


def _appends_and_reads(sixfold: Sixfold) -> None:
    """In words and as JSON."""
    said = sixfold.good("volume", "append", "--data", "hello", "--timeout", "60")
    assert re.fullmatch(r"1 record durable, LSN 1 to 1, in \d+\.\d\d s\n", said)
    done = sixfold.json("volume", "append", "--file", "-", text="two\nthree\n")
    assert done.pop("seconds") > 0
    assert done == {
        "records": 2,
        "first_lsn": 2,
        "last_lsn": 3,
        "acknowledged": [{"first_record": 1, "last_record": 2, "first_lsn": 2, "last_lsn": 3}],
        "unknown": [],
        "skip": 2,
        "error": "",
    }
    eventually(lambda: len(sixfold.json("volume", "read")["records"]) == 3, "all is durable for readers")
    read = sixfold.json("volume", "read", "--from", "2", "--count", "1", "--copy", "b1")
    assert read == {"copy": "b1", "records": [{"lsn": 2, "data": "dHdv"}]}
    words = [line.split() for line in sixfold.good("volume", "read", "--from", "2").splitlines()]
    assert words[0][:2] == ["from", "copy"]
    assert words[1:] == [["LSN", "Record"], ["2", "two"], ["3", "three"]]
    assert "nothing is durable from LSN 4 on" in sixfold.good("volume", "read", "--from", "4")


def _follows(sixfold: Sixfold) -> None:
    """As a replica sees them; a replica that runs is shown with its lag until it stops."""
    followed = sixfold.good("volume", "follow", "--from", "2", "--count", "2", "--json")
    assert [json.loads(line) for line in followed.splitlines()] == [
        {"lsn": 2, "data": "dHdv"},
        {"lsn": 3, "data": "dGhyZWU="},
    ]
    assert sixfold.good("volume", "follow", "--from", "3", "--count", "1").split() == ["3", "three"]
    assert "--replica: expected a name" in sixfold.bad("run", "volume.replica", code=2)
    process = sixfold.start("run", "volume.replica", "--replica", "r1")
    try:
        eventually(lambda: sixfold.json("volume", "status")["replicas"], "the replica says how it is")
        replica = sixfold.json("volume", "status")["replicas"][0]
        assert (replica["replica"], replica["applied_lsn"], replica["lag"]) == ("r1", 3, 0)
        assert "replica r1: at LSN 3, level, lag" in sixfold.good("volume", "status")
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert sixfold.json("volume", "status")["replicas"] == []


def _many_records(sixfold: Sixfold, tmp_path: Path) -> None:
    """Far more than a table could show, made up and read back."""
    assert sixfold.json("volume", "append", "--count", "3000", "--size", "1", "--timeout", "60")["last_lsn"] == 3003
    eventually(lambda: sixfold.json("volume", "read", "--from", "3003")["records"], "all is durable for readers")
    lines = sixfold.good("volume", "read", "--from", "4", "--count", "1000000").splitlines()
    assert [line.split() for line in lines[1:]] == [[str(lsn), "0"] for lsn in range(4, 3004)]


def _wrong_input_changes_nothing(sixfold: Sixfold, tmp_path: Path) -> None:
    """Exit code 2, what was expected, and the volume is as before."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"x\n" * 500 + b"y" * 600_000 + b"\n")
    said = sixfold.bad("volume", "append", "--file", str(lines), code=2)
    assert "line 501 has 600000 bytes; a volume takes 524288 at most. Nothing was appended" in said
    assert "give one of --data" in sixfold.bad("volume", "append", code=2)
    assert "give one of --data" in sixfold.bad("volume", "append", "--data", "x", "--count", "1", code=2)
    assert "is empty" in sixfold.bad("volume", "append", "--file", "-", code=2)
    assert "cannot be read" in sixfold.bad("volume", "append", "--file", str(tmp_path / "none"), code=2)
    assert "--skip 9 leaves nothing of 1 records" in sixfold.bad(
        "volume", "append", "--data", "x", "--skip", "9", code=2
    )
    assert "expected one of a1, a2" in sixfold.bad("volume", "read", "--copy", "d1", code=2)
    assert "'d' is no zone and no copy; expected some of: a, b, c, a1" in sixfold.bad("volume", "stop", "d", code=2)
    assert sixfold.json("volume", "status")["durable_lsn"] == 3003


def _a_zone_stops(sixfold: Sixfold) -> None:
    """It is drawn as down, and appends go on."""
    before = sixfold.json("volume", "status")
    assert {copy["copy"]: (copy["state"], copy["zone"]) for copy in before["copies"]} == {
        place.copy: ("up", place.zone) for place in layout.PLACES
    }
    assert sixfold.json("volume", "stop", "a") == {"volume.storage.a1": "stopped", "volume.storage.a2": "stopped"}
    assert sixfold.json("volume", "append", "--data", "without zone a", "--timeout", "60")["last_lsn"] == 3004
    status = sixfold.json("volume", "status")
    assert (status["answering"], status["writable"], status["durable_lsn"]) == (4, True, 3004)
    drawn = sixfold.good("volume", "status").splitlines()
    assert [title for title in ("zone a", "zone b", "zone c") if title in drawn[1]] == ["zone a", "zone b", "zone c"]
    names = next(line for line in drawn if "a1" in line)
    assert names.replace("│", " ").split() == list(layout.COPIES)
    states = next(line for line in drawn if "down" in line)
    assert states.replace("│", " ").split() == ["down", "down", "up", "up", "up", "up"]
    assert "durable to LSN 3004" in drawn[-1]
    assert "writes and reads" in drawn[-1]


def _the_quorum_is_lost(sixfold: Sixfold, tmp_path: Path) -> None:
    """Nothing is called unchanged that may be there: exit code 1, who answers, where to go on; as JSON too."""
    assert sixfold.good("volume", "stop", "b1", "c").split("\n")[0] == "volume.storage.b1: stopped"
    said = " ".join(sixfold.bad("volume", "append", "--data", "x", "--timeout", "1", code=1).split())
    assert "1 of 6 copies answer (zone a: none; zone b: b2; zone c: none)" in said
    assert "sixfold volume start a b1 c" in said
    assert "it may still become durable" in said
    failed = sixfold.run("volume", "append", "--count", "900", "--timeout", "1", "--json")
    assert failed.returncode == 1
    done = json.loads(failed.stdout)
    assert (done["records"], done["acknowledged"], done["skip"]) == (0, [], 0)
    assert done["unknown"][0] == {"first_record": 1, "last_record": 200}
    assert "1 of 6 copies answer" in done["error"]
    assert "--skip 0" in failed.stderr
    assert "no writes: 1 of 6 copies answer" in " ".join(sixfold.good("volume", "status").split())
    assert sixfold.json("volume", "read", "--from", "3003", "--count", "1")["copy"] == "b2"


def _all_start_again(sixfold: Sixfold) -> None:
    """They catch up by themselves, and a run behind what was acknowledged goes on."""
    started = sixfold.json("volume", "start", "all")
    assert started == {f"volume.storage.{copy}": "running" for copy in layout.COPIES}
    done = sixfold.json("volume", "append", "--file", "-", "--skip", "1", "--timeout", "60", text="one\ntwo\nthree\n")
    assert (done["records"], done["acknowledged"][0]["first_record"], done["skip"]) == (2, 2, 3)

    def level() -> bool:
        copies = sixfold.json("volume", "status")["copies"]
        return all(copy["state"] == "up" and copy["complete_lsn"] >= done["last_lsn"] for copy in copies)

    eventually(level, "all six copies are level")


def _backups_are_restored(sixfold: Sixfold, tmp_path: Path) -> None:
    """A clone has what was acknowledged just now, a volume restored to a moment what was there then."""
    eventually(lambda: sixfold.json("volume", "backups"), "there is a backup")
    (listed,) = sixfold.json("volume", "backups")
    assert (listed["volume"], listed["gap"]) == ("default", False)
    last_lsn = sixfold.json("volume", "append", "--data", "newest", "--timeout", "60")["last_lsn"]

    def behind() -> bool:
        return bool(sixfold.json("volume", "backups")[0]["last_lsn"] >= last_lsn)

    eventually(behind, "the backup has the newest record")
    cloned = sixfold.json("volume", "clone", "experiment")
    assert (cloned["last_lsn"], cloned["shared"]) == (last_lsn, True)
    (listed,) = sixfold.json("volume", "backups")
    assert listed["clones"] == ["experiment"]
    made = sixfold.json("volume", "restore", "yesterday", "--to", listed["earliest"])
    assert (made["last_lsn"], made["at"], len(made["folders"])) == (1, listed["earliest"], len(layout.COPIES))
    impossible: list[tuple[tuple[str, ...], str]] = [
        (("restore", "yesterday"), "there is a volume yesterday already"),
        (("restore", "later", "--to", "2999-01-01T00:00:00Z"), "later than its latest restorable time"),
        (("restore", "other", "--volume", "nobody"), "has no backup of volume nobody; it has those of: default"),
    ]
    for words, said in impossible:
        assert said in " ".join(sixfold.bad("volume", *words, code=1).split())
    wrong: list[tuple[tuple[str, ...], str]] = [
        (("restore", "x", "--to", "noon"), "'noon' is no moment; expected one such as 2026-11-25T12:00:03Z"),
        (("restore", "x", "--to", "2026-11-25T12:00:03"), "end it with Z or an offset"),
        (("clone", "default"), "give the new one another name"),
        (("backups", "--from", "ftp://x/y"), "expected a folder or a URL"),
        (("serve", "default"), "sixfold up"),
    ]
    for words, said in wrong:
        assert said in " ".join(sixfold.bad("volume", *words, code=2).split())
    with running(sixfold, "volume", "serve", "experiment", ready="volume experiment runs") as served:

        def readable() -> bool:
            done = sixfold.run("volume", "read", "--volume", "experiment", "--from", str(last_lsn), "--json")
            return done.returncode == 0 and len(json.loads(done.stdout)["records"]) == 1

        eventually(readable, "the clone reads its past")
        mine = sixfold.json("volume", "append", "--volume", "experiment", "--data", "mine", "--timeout", "60")
        assert mine["first_lsn"] == last_lsn + 1
    assert served.returncode == 0


def _damage_to_a_backup_is_named(sixfold: Sixfold, tmp_path: Path) -> None:
    """A sound one is the same as in the copies; a flipped bit ends the command with 1 and the object's name."""
    found = sixfold.json("volume", "verify", "--deep")
    assert (found["findings"], found["copies"]) == ([], list(layout.COPIES))
    damaged = next(
        path for path in (tmp_path / "data" / "backups" / "default").glob("redo/*/*") if "#" not in path.name
    )
    data = bytearray(damaged.read_bytes())
    data[-3] ^= 1
    copied = tmp_path / "damaged"
    shutil.copytree(tmp_path / "data" / "backups", copied)
    next(copied.glob(f"default/redo/*/{damaged.name}")).write_bytes(data)
    done = sixfold.run("volume", "verify", "--from", str(copied), "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    assert any(damaged.name in each["object"] and "CRC-32 does not fit" in each["problem"] for each in findings)
    assert "has no backup of volume nobody" in sixfold.bad("volume", "verify", "--volume", "nobody", code=1)


def test_without_a_running_system_the_commands_say_so(tmp_path: Path) -> None:
    """Reading finds no copy, stopping finds no supervisor; each says what to do."""
    made = Sixfold(tmp_path / "data")
    assert "none of its copies answers; start it: sixfold volume start all" in made.bad("volume", "read", code=1)
    assert "sixfold up" in made.bad("volume", "stop", "a", code=2)
    process = made.start("volume", "follow", "--from", "1")
    try:
        until(process, "none of the six copies answers")
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said
