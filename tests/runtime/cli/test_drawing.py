"""What people read: names are whole, in a narrow terminal and in a file."""

from __future__ import annotations

import asyncio

import pytest
from rich.table import Table
from tests.runtime.cli.commands import Sixfold

from sixfold import bus, catalogue
from sixfold.cli import common

LONG = "arn:aws:kms:local:000000000000:key/21f4e838-86d1-4d03-a16c-df3608b63ec0"


async def test_functions_and_topics_are_listed_with_their_whole_names(
    sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No type and no topic is broken in two, though a terminal has but 80 columns."""
    topic = "a-topic-with-a-name-that-is-rather-long.and-goes-on"
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        await opened.create_topics([bus.TopicSpec(name=topic)])
    monkeypatch.setenv("COLUMNS", "80")
    functions = (await asyncio.to_thread(sixfold.spawn, "functions")).stdout
    for function in catalogue.installed().functions.values():
        for name in (function.name, *(cls.__event__.type for cls in (*function.on, *function.emits))):
            assert name in functions, name
    assert topic in (await asyncio.to_thread(sixfold.spawn, "topics")).stdout


def test_what_goes_to_no_terminal_is_not_cut_or_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe and a file have no width: a line of text stays one, a table is as wide as its cells."""
    monkeypatch.delenv("COLUMNS", raising=False)
    common.show({}, as_json=False, render=lambda: f"key: {LONG} {LONG}")
    table = Table("key", "also")
    table.add_row(LONG, LONG)
    common.show({}, as_json=False, render=lambda: table)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"key: {LONG} {LONG}"
    assert printed.count(LONG) == 4


def test_what_a_narrow_terminal_cannot_hold_is_folded_never_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lists keys can copy one."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(common.console, "_width", 60)
    table = Table("key", "also")
    table.add_row(LONG, "x" * 60)
    common.show({}, as_json=False, render=lambda: table)
    printed = capsys.readouterr().out
    assert "…" not in printed
    cells = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    assert "".join(cells) == LONG
