"""`sixfold schema diff` and `register`: what breaks is said before it is done, and nothing is half done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.functions.registry import serving
from tests.runtime.cli.commands import Sixfold
from tests.support import buses

from sixfold import system

FIELDS = [{"name": "order_id", "type": "string"}, {"name": "amount_cents", "type": "long"}]


def schema(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "OrderPlaced", "namespace": "order", "fields": [*FIELDS, *fields]}


def frozen(sixfold: Sixfold, version: int, *fields: dict[str, Any]) -> Path:
    """A frozen version of order.placed, beside the app."""
    path = sixfold.app.parent / "schemas" / "order.placed" / f"v{version}.avsc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema(*fields)))
    return path


def test_a_difference_is_shown_field_by_field_with_what_it_breaks(sixfold: Sixfold) -> None:
    """Between two files, a frozen version and the code, or a type and its last version; exit code 1 where it breaks."""
    app = ("--app", str(sixfold.app))
    path = frozen(sixfold, 1)
    found = sixfold.json(*app, "schema", "diff", str(path), "order.placed")
    assert found["changes"] == [
        {"place": "", "what": "doc", "before": "", "after": '"An order."'},
        {"place": "note", "what": "added", "before": "", "after": 'string, default ""'},
    ]
    assert (found["compatible"], found["level"], found["breaks"]) == (True, "FULL", {"BACKWARD": [], "FORWARD": []})
    assert found == {**sixfold.json(*app, "schema", "diff", "order.placed@1", "order.placed"), "old": str(path)}
    assert sixfold.json(*app, "schema", "diff", "order.placed")["old"] == "order.placed@1"
    needed = frozen(sixfold, 2, {"name": "shop", "type": "string"})
    broken = sixfold.run(*app, "schema", "diff", "order.placed@1", str(needed), "--json")
    assert broken.returncode == 1
    found = json.loads(broken.stdout)
    assert found["breaks"] == {"BACKWARD": ["shop has no default, and the data lacks it"], "FORWARD": []}
    shown = sixfold.run(*app, "schema", "diff", "order.placed@1", str(needed))
    assert shown.returncode == 1
    for words in ("shop", "BACKWARD (new readers, old data) breaks", "FORWARD (old readers, new data) holds", "FULL"):
        assert words in shown.stdout
    for level, code in (("forward", 0), ("none", 0), ("backward", 1)):
        assert sixfold.run(*app, "schema", "diff", "order.placed@1", str(needed), "--level", level).returncode == code


def test_what_cannot_be_compared_is_said(sixfold: Sixfold) -> None:
    """An unknown type, a missing or broken file, a version that is none, a registry that is not named."""
    app = ("--app", str(sixfold.app))
    bad = sixfold.app.parent / "bad.avsc"
    bad.write_text("{")
    for words, said in (
        (("order.plaecd",), "order.placed"),
        (("order.placed",), "not frozen"),
        (("order.placed@9", "order.placed"), "cannot be read"),
        (("order.placed@new", "order.placed"), "order.placed@1"),
        ((str(bad), "order.placed"), "not JSON"),
        (("registry:x", "order.placed"), "SIXFOLD_REGISTRY_URL"),
    ):
        assert said in sixfold.bad(*app, "schema", "diff", *words, code=2)


async def test_schemas_are_registered_as_planned(sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan changes nothing; --apply does it in order, and once; the running gateway's registry needs no URL."""
    app = ("--app", str(sixfold.app))
    frozen(sixfold, 1)
    frozen(sixfold, 2, {"name": "note", "type": "string", "default": ""})
    subject = "order.placed-order.OrderPlaced"
    async with serving.served(buses.Place("embedded:", sixfold.data_dir)) as served:
        url = served.url.removesuffix("/registry")
        system.write(sixfold.data_dir, system.System(pid=1, bus_url="embedded:", gateway_url=url))
        command = (*app, "schema", "register", "--registry", "embedded:")

        async def registered(*more: str) -> list[tuple[int, str, bool]]:
            steps = await asyncio.to_thread(sixfold.json, *command, *more)
            assert {step["subject"] for step in steps} == {subject}
            return [(step["version"], step["action"], step["id"] is not None) for step in steps]

        assert await registered() == [(1, "register", False), (2, "register", False)]
        assert "2 to register" in await asyncio.to_thread(sixfold.good, *command)
        assert await served.ask("GET", "/subjects") == []
        assert await registered("--apply") == [(1, "register", True), (2, "register", True)]
        assert await served.ask("GET", f"/subjects/{subject}/versions") == [1, 2]
        assert await registered("--apply", "order.placed") == [(1, "known", True), (2, "known", True)]

        monkeypatch.setenv("SIXFOLD_REGISTRY_URL", f"http://me:{served.token}@{served.url.removeprefix('http://')}")
        diff = (*app, "schema", "diff", f"registry:{subject}@1", f"registry:{subject}", "--json")
        found = json.loads(await asyncio.to_thread(sixfold.good, *diff))
        assert (found["old"], found["new"]) == (f"registry:{subject}@1", f"registry:{subject}@2")
        assert [each["place"] for each in found["changes"]] == ["note"]
        topic = await asyncio.to_thread(sixfold.json, *app, "schema", "register", "--subjects", "topic")
        assert {step["subject"] for step in topic} == {"order.placed-value"}


async def test_an_incompatible_schema_stops_all_of_it(sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and the reason, also for a version that follows one which is not registered yet."""
    app = ("--app", str(sixfold.app))
    frozen(sixfold, 1)
    frozen(sixfold, 2, {"name": "shop", "type": "string"})
    async with serving.served(buses.Place("embedded:", sixfold.data_dir)) as served:
        monkeypatch.setenv("SIXFOLD_REGISTRY_URL", served.url)
        monkeypatch.setenv("SIXFOLD_REGISTRY_TOKEN", served.token)
        for more in ((), ("--apply",)):
            done = await asyncio.to_thread(sixfold.run, *app, "schema", "register", *more, "--json")
            assert done.returncode == 1
            first, second = json.loads(done.stdout)
            assert (first["action"], second["action"]) == ("register", "incompatible")
            assert second["reasons"] == [
                "the new schema cannot read version 1: shop has no default, and the data lacks it"
            ]
        shown = await asyncio.to_thread(sixfold.run, *app, "schema", "register", "--apply")
        assert "nothing was registered" in shown.stdout
        assert await served.ask("GET", "/subjects") == []
        unknown = await asyncio.to_thread(sixfold.bad, *app, "schema", "register", "order.plaecd", code=2)
        assert "order.placed" in unknown


def test_a_registry_that_does_not_answer_is_said(sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 with its URL; without any, exit code 2 and how to name one."""
    frozen(sixfold, 1)
    app = ("--app", str(sixfold.app))
    assert "SIXFOLD_REGISTRY_URL" in sixfold.bad(*app, "schema", "register", code=2)
    assert "sixfold up" in sixfold.bad(*app, "schema", "register", "--registry", "embedded:", code=1)
    assert "expected http" in sixfold.bad(*app, "schema", "register", "--registry", "registry", code=2)
