"""What `make bench-volume` counts and compares, without its peers; and our own side on the embedded bus."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.__main__ import ROOT
from bench.runtime import rounds, scale
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError
from bench.volume import __main__ as program
from bench.volume import appends, bars, counted, debian, etcd, meter, pins, rates, recovery, replacing, restored, turns
from bench.volume.bare import FILES, BareFiles
from bench.volume.load import RECORD, Load
from bench.volume.measured import figures_of
from bench.volume.volumes import volume

from sixfold.bus import open_bus
from sixfold_functions.volume.core import layout

README = (Path(ROOT) / "bench" / "README.md").read_text()


class Counts:
    """Something that counts so much in each window of half a second; time stands still in between."""

    def __init__(self, windows: Sequence[int]) -> None:
        self.slept = 0
        self._windows = windows

    async def look(self) -> rates.Point:
        return rates.Point(sum(self._windows[: self.slept]), self.slept * rates.WINDOW_S)

    async def sleep(self, seconds: float) -> None:
        self.slept += round(seconds / rates.WINDOW_S)


async def test_a_rate_is_taken_once_it_is_level() -> None:
    """What warms up is not measured, nor what has not begun; what never becomes level is measured all the same."""
    warming = Counts([0, 0, 100, 500, 1000, 1010, *[2000] * 8])
    assert await rates.rate(warming.look, 4.0, warming.sleep) == 4000
    assert warming.slept == 6 + 8
    restless = Counts([100, 1000] * 20)
    assert await rates.rate(restless.look, 4.0, restless.sleep) == 1100
    assert restless.slept == rates.WINDOWS_MAX + 8


async def test_every_side_has_its_turn_in_every_round_and_a_missing_one_is_asked_once() -> None:
    """The others go on, and its reason is kept."""
    asked: list[str] = []

    async def ours() -> turns.Figures:
        asked.append("ours")
        return {"128": float(len(asked))}

    async def peer() -> turns.Figures:
        asked.append("peer")
        raise debian.PeerMissingError("no such package")

    async def failing() -> turns.Figures:
        asked.append("failing")
        raise SideError("no leader")

    sides = {"ours": ours, "peer": peer, "failing": failing}
    values, missing = await turns.taken(sides, 3, note=lambda line: None)
    assert asked == ["ours", "peer", "failing", "ours", "ours"]
    assert values == {"ours_128": [1.0, 4.0, 5.0]}
    assert missing == {"peer": "no such package", "failing": "failed: no leader"}


def test_figures_are_those_of_all_processes_and_of_the_copy_that_syncs_most() -> None:
    """An fsync too many in one copy is seen; the writer's own are none of a copy's."""
    said = {
        "clients": 128,
        "appends": 1000,
        "per_s": 250.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "cpu_s": {"writer": 0.1, "a1": 0.02, "broker": 0.08},
        "syncs": {"writer": 9000, **dict.fromkeys(layout.COPIES, 10), "b2": 20},
    }
    found = figures_of(said)
    assert found["128"] == 250
    assert found["fsyncs_128"] == 0.02
    assert round(found["cpu_us_128"]) == 200
    assert "fsyncs_128" not in figures_of({**said, "syncs": {}})


def test_each_ratio_is_made_of_two_sides_figures() -> None:
    """The names say whose: a ratio is ours over the peer's, and is null where the peer is missing."""
    sides = {name: tuple(appends.side_of(figure) for figure in figures) for name, figures in appends.RATIOS.items()}
    assert sides["append_1000_vs_etcd"] == ("kafka", "etcd")
    assert sides["append_128_vs_mariadb_python"] == ("kafka", "mariadb_python")
    assert sides["embedded_128_vs_bare"] == ("embedded", "bare")
    assert {appends.side_of(figure) for figure in appends.PLAIN.values()} == {"kafka"}


def test_the_outcome_has_medians_of_ratios_and_reasons() -> None:
    """Each round's ours over theirs; a peer that is not here makes null, not a figure."""
    values = {"kafka_p50_ms_1": [9.0, 8.0], "kafka_128": [10.0, 30.0], "etcd_128": [5.0, 10.0]}
    wanted = ("append_p50_ms_1", "append_128_vs_etcd", "append_128_vs_mariadb")
    outcome = appends.outcome_of(wanted, values, {"mariadb": "no such package"})
    assert outcome.values == {"append_p50_ms_1": 8.5, "append_128_vs_etcd": 2.5, "append_128_vs_mariadb": None}
    assert outcome.spread["append_128_vs_etcd"] == (2.0, 3.0)
    assert outcome.missing == {"append_128_vs_mariadb": "no such package"}


def test_a_bar_is_held_or_missed_and_a_missing_figure_is_neither() -> None:
    """At most and less than are not the same."""
    found = bars.table({"flat_volume": 1.15, "recovery_s": 5.0, "append_128_vs_etcd": None, "append_p50_ms_1": 7.6})
    assert [line.split()[1:] for line in found] == [
        ["1.15", "<=", "1.15", "holds"],
        ["5", "<", "5", "MISSED"],
        ["null", ">=", "2.5"],
        ["7.6", "<", "12", "holds"],
    ]


def test_processor_time_is_read_of_processes_with_any_name() -> None:
    """A name may have blanks and brackets."""
    ticks = os.sysconf("SC_CLK_TCK")
    line = f"7 (a ) b (c) S {' '.join(['0'] * 10)} {ticks} {2 * ticks} 0 0"
    assert meter.cpu_s(line) == 3.0


def test_every_fsync_of_a_counted_process_is_counted(tmp_path: Path) -> None:
    """Whoever calls it; the count is read from outside while the process runs."""
    counter = meter.Counter(tmp_path)
    sync = counted.counting(os.fdatasync, counter)
    before = meter.read({"me": os.getpid()}, tmp_path)
    with (tmp_path / "file").open("wb") as file:
        sync(file.fileno())
        sync(file.fileno())
    assert meter.read({"me": os.getpid()}, tmp_path).since(before).syncs == {"me": 2}
    environment = {**os.environ, counted.FOLDER: str(tmp_path / "child")}
    command = [sys.executable, "-m", "bench.volume.counted", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "sixfold" in done.stdout.lower()
    assert len([*(tmp_path / "child").iterdir()]) == 1


def sizes(folder: Path) -> list[int]:
    """Bytes of each file in `folder`."""
    return [path.stat().st_size for path in folder.iterdir()]


async def test_a_bare_append_is_in_all_six_files(tmp_path: Path) -> None:
    """As many bytes as were acknowledged, in each."""
    async with BareFiles(tmp_path) as files:
        await asyncio.gather(*(files.append() for _ in range(5)))
    assert sizes(tmp_path) == [5 * len(RECORD)] * FILES


async def test_a_client_that_fails_ends_the_measurement() -> None:
    """It does not become a low rate."""

    async def append() -> int:
        raise RuntimeError("no quorum")

    async def measure() -> None:
        async with Load(append, 2) as load:
            await asyncio.sleep(0)
            await load.look()

    with pytest.raises(RuntimeError, match="no quorum"):
        await measure()


def test_a_put_is_what_etcd_reads() -> None:
    """Protocol Buffers' bytes, and gRPC's five before them."""
    assert etcd.put(b"k", b"v") == b"\x0a\x01k\x12\x01v"
    assert etcd.put(b"k", RECORD)[3:6] == b"\x12\xac\x02"
    assert etcd.message(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_programs_come_from_the_unpacked_packages_first(tmp_path: Path) -> None:
    """Then from the machine; one that is nowhere is named."""
    own = tmp_path / "usr" / "sbin" / "sh"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    (tmp_path / "usr" / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    programs = debian.Programs(tmp_path)
    assert programs.path("sh") == str(own)
    assert programs.path("ls") != str(own)
    assert programs.environment["LD_LIBRARY_PATH"] == str(tmp_path / "usr" / "lib" / "x86_64-linux-gnu")
    with pytest.raises(debian.PeerMissingError, match="no-such-program"):
        programs.path("no-such-program")
    own.write_text('#!/bin/sh\necho "$0  Ver 10.11.19-MariaDB for debian"\n')
    assert programs.version("sh") == "10.11.19-MariaDB"


async def test_a_part_that_fails_is_null_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its error; a quarter of an hour of measuring is not lost."""

    async def failing(lab: Lab, broker: int | None) -> Outcome:
        raise SideError("no leader")

    async def working(lab: Lab, broker: int | None) -> Outcome:
        outcome = Outcome()
        outcome.add("recovery_s", rounds.figure([1.0]))
        return outcome

    monkeypatch.setattr(program, "PARTS", ((("flat_volume",), failing), (("recovery_s",), working)))
    async with open_bus("embedded:", data_dir=tmp_path) as bus:
        outcome = await program.measure(Lab(bus, "", tmp_path, scale.Scale()), None)
    assert outcome.values == {"flat_volume": None, "recovery_s": 1.0}
    assert outcome.missing == {"flat_volume": "failed: no leader"}


def test_a_machine_without_debians_packages_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The figure is null, and this is why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(debian.PeerMissingError, match="this machine has no apt-get"):
        debian.programs("etcd")


async def test_our_side_is_measured_and_a_killed_writer_has_a_successor(tmp_path: Path) -> None:
    """Appends, latencies, the processor time and fsyncs of every copy; then seconds until another one acknowledges."""
    async with (
        open_bus("embedded:", data_dir=tmp_path) as bus,
        volume(bus, tmp_path, "measured") as ours,
        ours.copies(),
    ):
        async with ours.writing(clients=(4,), seconds=0.5, fill_bytes=1) as (running, first):
            assert first["first_lsn"] == 1
            assert (await running.said())["filled_bytes"] == 1
            said = await running.said()
        assert said["appends"] > 0
        assert set(said["cpu_s"]) == {"writer", *layout.COPIES}
        assert all(said["syncs"][copy] > 0 for copy in layout.COPIES)
        found = figures_of(said)
        assert 0 < found["p50_ms_4"] <= found["p99_ms_4"]
        assert await recovery.recovery_s(ours, under_load_s=0.3) > 0


async def test_a_replacement_is_measured_while_appends_go_on(tmp_path: Path) -> None:
    """The new copy is one of six then, the old one is none."""
    async with (
        open_bus("embedded:", data_dir=tmp_path) as bus,
        volume(bus, tmp_path, "replaced") as ours,
        ours.copies() as fleet,
    ):
        took_s, appends_ms = await replacing.replaced_s(ours, fleet, filled_bytes=1, per_s=50)
    assert took_s > 0
    assert len(appends_ms) >= 50


async def test_a_restore_is_measured_at_the_share_that_is_asked_for(tmp_path: Path) -> None:
    """All of it is read in the end."""
    async with open_bus("embedded:", data_dir=tmp_path) as bus:
        outcome = await restored.restored(Lab(bus, "", tmp_path, scale.Scale(share=0.001)), None)
    assert outcome.values["restore_1gb_s"]
    assert outcome.details["restore"]["bytes"] == 1_000_000


def test_the_readme_explains_every_result_and_names_every_pin() -> None:
    """A figure that nobody can read, or a version that is not the one measured, would be worthless."""
    results = [name for names, _ in program.PARTS for name in names]
    assert [name for name in results if f"`{name}`" not in README] == []
    wanted = {pin for pins_ in pins.PINNED.values() for pin in pins_ if pin != pins.UVLOOP}
    versions = {re.split(r"==", pin)[1] for pin in wanted}
    assert [version for version in sorted(versions) if version not in README] == []
    packages = {package for names in debian.PACKAGES.values() for package in names}
    assert [package for package in sorted(packages) if f"`{package}`" not in README] == []
