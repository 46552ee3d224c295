"""What is published and listed takes as much memory as a piece of it, however long it is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime.cli.commands import Sixfold

from sixfold import bus, dead_letter
from sixfold.cli import main, publish, streaming

HEADERS = [(f"{dead_letter.PREFIX}function", b"accept")]
ORDER = '{"order_id": "o-1", "amount_cents": 5}'


def peak_bytes(sixfold: Sixfold, *words: str) -> int:
    """The most memory that a command took, its output thrown away."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        tracemalloc.start(1)
        try:
            with pytest.raises(SystemExit) as end:
                main.main(["--data-dir", str(sixfold.data_dir), "--app", str(sixfold.app), *words])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert not end.value.code
    return peak


def from_file(sixfold: Sixfold, count: int) -> list[str]:
    """Words that publish `count` lines of a file."""
    path = sixfold.app.parent / f"{count}.ndjson"
    with path.open("w") as file:
        file.writelines(itertools.repeat(f"{ORDER}\n", count))
    return ["publish", "order.placed", "--json", "--file", str(path)]


def repeated(_: Sixfold, count: int) -> list[str]:
    """Words that publish one event `count` times."""
    return ["publish", "order.placed", "--json", "--data", ORDER, "--count", str(count)]


@pytest.mark.parametrize("words", [from_file, repeated])
def test_publishing_many_events_takes_no_more_memory_than_publishing_some(
    sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch, words: Callable[[Sixfold, int], list[str]]
) -> None:
    """Positions are printed as they come, and one piece of the input is held at a time."""
    monkeypatch.setattr(publish, "CHECKED_EVENTS_MAX", 1_000)
    peak_bytes(sixfold, *words(sixfold, 1_000))  # what is imported and cached once
    some = peak_bytes(sixfold, *words(sixfold, 3_000))
    many = peak_bytes(sixfold, *words(sixfold, 9_000))
    assert many - some < 3_000_000, f"{some:,} and {many:,} bytes"


async def test_listing_many_dead_letters_takes_no_more_memory_than_listing_some(sixfold: Sixfold) -> None:
    """Letters are printed as they are read; none is kept."""

    async def park(count: int) -> None:
        topic = bus.TopicSpec(name="accept.dlq", partitions=1)
        async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
            await opened.create_topics([topic])
            for start in range(0, count, 500):
                await opened.publish(
                    [
                        bus.NewRecord("accept.dlq", f"{number:05}".encode() * 200, headers=HEADERS)
                        for number in range(start, min(count, start + 500))
                    ]
                )

    await park(1_000)
    await asyncio.to_thread(peak_bytes, sixfold, "dlq", "ls", "--json")
    some = await asyncio.to_thread(peak_bytes, sixfold, "dlq", "ls", "--json")
    await park(8_000)
    many = await asyncio.to_thread(peak_bytes, sixfold, "dlq", "ls", "--json")
    assert many - some < 3_000_000, f"{some:,} and {many:,} bytes"


async def test_a_long_list_of_dead_letters_is_several_tables_and_each_letter_is_found(sixfold: Sixfold) -> None:
    """None is left out, and one is shown without reading those before it."""
    count = streaming.ROWS_MAX + 1
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        await opened.create_topics([bus.TopicSpec(name="accept.dlq", partitions=1)])
        await opened.publish(
            [
                bus.NewRecord("accept.dlq", None, headers=[(f"{dead_letter.PREFIX}error-message", b"m-%d." % number)])
                for number in range(count)
            ]
        )
    app = ["--app", str(sixfold.app)]
    text = await asyncio.to_thread(sixfold.good, *app, "dlq", "ls")
    assert text.count("Came from") == 2
    assert all(f"m-{number}." in text for number in range(count))
    listed = await asyncio.to_thread(sixfold.json, *app, "dlq", "ls")
    assert [row["offset"] for row in listed] == list(range(count))
    shown = await asyncio.to_thread(sixfold.json, *app, "dlq", "show", "accept", "150")
    assert (shown["offset"], shown["error_message"]) == (150, "m-150.")


def test_a_failure_half_way_leaves_a_whole_document_of_what_is_stored(
    sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says up to which line, standard output has the positions, and both agree."""
    monkeypatch.setattr(publish, "CHECKED_EVENTS_MAX", 600)
    text = f"{ORDER}\n" * 1_200 + "oops\n"
    app = ["--app", str(sixfold.app)]
    done = sixfold.run(*app, "publish", "order.placed", "--file", "-", "--json", text=text)
    assert done.returncode == 2
    assert "line 1201: not valid JSON" in done.stderr
    assert "lines up to 1200 are published (1,200 events), the rest is not" in done.stderr
    assert [each["offset"] for each in json.loads(done.stdout)] == list(range(1_200))
    quiet = sixfold.run(*app, "publish", "order.placed", "--file", "-", text=text)
    assert (quiet.returncode, quiet.stdout) == (2, "")
