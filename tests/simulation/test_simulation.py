"""The simulator itself: its lives hold, replay, break where the volume is broken on purpose, and are made shorter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.simulation import decoding, grouped_life, life, shortening
from tests.simulation.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
SEEDS_MAX = 1_000
"""A broken volume must be found within so many."""
LIVES_OF_PAGES = (29, 41, 101)
"""Some more of the lives in which copies begin with pages, and are killed at it: few of the lives do."""


def test_lives_hold_and_every_fault_happens_in_them() -> None:
    """A few of the seeds that `make simulate` runs; each is long and has most of its appends acknowledged."""
    hits: Counter[str] = Counter()
    for seed in (*range(12), *LIVES_OF_PAGES):
        outcome = life.live(life.Plan(seed))
        assert outcome.violation == ""
        assert outcome.seconds >= life.SECONDS
        assert outcome.acknowledged >= life.APPENDS or len(outcome.steps) in (life.STEPS_MAX, grouped_life.STEPS_MAX)
        assert outcome.acknowledged >= life.APPENDS // 10
        hits += outcome.hits
    assert sorted(hits) == [
        "backup killed",
        "bit flipped",
        "bit of a layer flipped",
        "clock that is wrong",
        "copies cut off",
        "copy began with pages",
        "copy killed",
        "copy killed while it gets pages",
        "copy removed",
        "copy replaced",
        "damage found by scrubbing",
        "damage mended",
        "data key rotated",
        "disk full",
        "filled by another copy",
        "flipped bit found",
        "folder lost",
        "garbage collected",
        "groups taken over together",
        "level without a writer",
        "log began afresh",
        "machine lost for good",
        "membership learnt",
        "much asked of several copies",
        "network turned over",
        "object let go",
        "object store failed",
        "old membership begun with",
        "page compared",
        "page not readable",
        "partition cut by retention",
        "power lost",
        "power lost everywhere",
        "power of a zone lost",
        "process ended by its disk",
        "question to another copy",
        "record lost",
        "record overtaken",
        "record twice",
        "replacement begun",
        "replacement undone",
        "replica moved",
        "replica started anew",
        "segment written anew",
        "snapshot made",
        "snapshot restored",
        "sync failed (EIO)",
        "sync failed (ENOSPC)",
        "tail of a partition lost",
        "writer followed",
        "zone cut off",
    ]


def test_a_seed_replays_in_another_process_exactly() -> None:
    """Whatever Python's hashes are there."""
    script = (
        "from tests.simulation import life; o = life.live(life.Plan(3)); print(o.digest, len(o.steps), dict(o.hits))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("0", "17")
    }
    assert len(said) == 1
    assert said.pop().strip()


@pytest.mark.parametrize("seed", [0, 5])
def test_a_life_is_the_same_whether_bytes_are_decoded_once_or_each_time(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of the bytes that were decoded before saves time, and changes nothing."""
    assert decoding.registry_of(seed) is decoding.REMEMBERING
    remembering = life.live(life.Plan(seed, steps=400))
    monkeypatch.setattr(decoding, "REAL_EVERY", 1)
    assert decoding.registry_of(seed) is decoding.REAL
    assert life.live(life.Plan(seed, steps=400)) == remembering


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_volume_that_is_broken_on_purpose_is_found_out(mutation: str) -> None:
    """Each of the ways within a thousand seeds; what concerns groups shows only in volumes that have some."""
    shows = grouped_life.is_grouped if MUTATIONS[mutation].concerns_groups else lambda seed: True
    outcomes = (life.live(life.Plan(seed, mutation)) for seed in range(SEEDS_MAX) if shows(seed))
    found = next((outcome for outcome in outcomes if outcome.violation), None)
    assert found is not None


def test_a_life_that_fails_is_made_shorter_and_fails_alike() -> None:
    """So that somebody can follow it: fewer steps, the same invariant, and it replays from what is printed."""
    outcomes = (life.live(life.Plan(seed, "ignore-epochs")) for seed in range(SEEDS_MAX))
    found = next(outcome for outcome in outcomes if outcome.violation)
    shorter = shortening.shorten(found, lives_max=40)
    happened = set(range(1, len(shorter.steps) + 1)) - shorter.plan.left_out
    assert len(happened) < len(found.steps) / 2
    assert shorter.invariant == found.invariant
    assert life.live(shorter.plan).violation == shorter.violation


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--first", "-1"], ["--processes", "0"], ["--mutation", "none"]])
def test_a_run_that_would_prove_nothing_is_refused(words: list[str]) -> None:
    """Without a traceback; nothing has lived."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "expected" in done.stderr or "invalid choice" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("words", "code", "violations"), [([], 0, 0), (["--mutation", "skip-gap-fill"], 0, 1)])
def test_the_command_counts_faults_and_says_what_did_not_hold(words: list[str], code: int, violations: int) -> None:
    """One JSON object on the last line; a mutation that is found is a success."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "4", "--processes", "1", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["violations"] == violations
    assert ("shortened to" in done.stdout) == bool(violations)
    assert "writer followed" in done.stdout
