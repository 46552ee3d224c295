"""Events from the command line: sampled, published, tailed; bad input is named and stores nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.runtime.cli.commands import Sixfold

from sixfold import bus, json_events
from sixfold.cli import records, sampling
from sixfold_events.git import GitPushed
from sixfold_events.registry import Registry


@pytest.fixture
def sample(sixfold: Sixfold) -> dict[str, Any]:
    """A `git.pushed`."""
    found: dict[str, Any] = json.loads(sixfold.good("event", "new", "git.pushed"))
    return found


def stored(sixfold: Sixfold, topic: str = "git.pushed") -> list[dict[str, Any]]:
    """Everything in a topic, as `tail --json` prints it."""
    return [json.loads(line) for line in sixfold.good("tail", topic, "--json").splitlines()]


def test_an_event_goes_from_a_sample_to_the_log_and_back(sixfold: Sixfold, sample: dict[str, Any]) -> None:
    """What was published is what tail shows, with its position, key and CloudEvents attributes."""
    [position] = sixfold.json("publish", "git.pushed", "--data", json.dumps(sample))
    [event] = stored(sixfold)
    assert {name: event[name] for name in ("topic", "partition", "offset", "id")} == position
    assert (event["data"], event["type"], event["source"]) == (sample, "git.pushed", "/cli")
    assert event["partitionkey"] == sample["repository"]
    assert sample["repository"] in sixfold.good("tail", "git.pushed")


def test_a_file_of_lines_is_published_in_order(sixfold: Sixfold, sample: dict[str, Any]) -> None:
    """One event a line, blank lines skipped; from standard input as well."""
    path = sixfold.app.parent / "events.ndjson"
    lines = [json.dumps({**sample, "pushed_at_ms": number}) for number in range(1200)]
    path.write_text("\n\n".join(lines))
    assert len(sixfold.json("publish", "git.pushed", "--file", str(path))) == 1200
    assert len(sixfold.json("publish", "git.pushed", "--file", "-", text=lines[0])) == 1
    assert [event["data"]["pushed_at_ms"] for event in stored(sixfold)] == [*range(1200), 0]


def test_a_repeated_event_is_a_new_one_each_time(sixfold: Sixfold, sample: dict[str, Any]) -> None:
    """--count gives every copy an id of its own, so that consumers do not drop them as duplicates."""
    positions = sixfold.json("publish", "git.pushed", "--count", "25", "--data", json.dumps(sample))
    assert [each["offset"] for each in positions] == list(range(25))
    assert len({each["id"] for each in positions}) == 25
    assert [event["id"] for event in stored(sixfold)] == [each["id"] for each in positions]


BAD: list[tuple[str, Any, list[str]]] = [
    ("a missing field", {"order_id": "o-1"}, ["line 3", "amount_cents", "missing"]),
    ("a wrong type", {"order_id": "o-1", "amount_cents": "much"}, ["line 3", "amount_cents", "int"]),
    ("an unknown field", {"order_id": "o-1", "amount_cents": 1, "noet": "x"}, ["line 3", "noet", "mean note"]),
    ("an array", [1], ["line 3", "JSON object"]),
    ("a number beyond 64 bits", {"order_id": "o-1", "amount_cents": 2**80}, ["line 3"]),
    ("too large", {"order_id": "o-1", "amount_cents": 1, "note": "x" * 1_000_001}, ["line 3", "1,000,000"]),
]


@pytest.mark.parametrize(("name", "bad", "said"), BAD, ids=[each[0] for each in BAD])
def test_what_does_not_fit_is_named_and_nothing_is_published(
    sixfold: Sixfold, name: str, bad: Any, said: list[str]
) -> None:
    """The line and the field are in the message, exit code 2, and not even the good lines before it are stored."""
    good = json.dumps({"order_id": "o-1", "amount_cents": 1})
    text = f"{good}\n{good}\n{json.dumps(bad)}\n"
    error = sixfold.bad("--app", str(sixfold.app), "publish", "order.placed", "--file", "-", code=2, text=text)
    for words in said:
        assert words in error, (name, error)
    assert not (sixfold.data_dir / "bus").exists()


def test_json_that_is_none_is_said_with_its_line(sixfold: Sixfold) -> None:
    """Not a traceback of a parser."""
    assert "line 1: not valid JSON" in sixfold.bad("publish", "git.pushed", "--file", "-", code=2, text="{oops")
    assert "--data: not valid JSON" in sixfold.bad("publish", "git.pushed", "--data", "{", code=2)


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_json_without_a_bottom_is_said_with_its_line(sixfold: Sixfold, depth: int) -> None:
    """However deep it is nested: wrong usage, nothing is stored, and Sixfold is not at fault."""
    deep = "[" * depth + "]" * depth
    app = ["--app", str(sixfold.app)]
    for text in (deep, '{"order_id": ' + deep + "}", '{"order_id": "o-1", "amount_cents": 1, "x": ' + deep + "}"):
        said = sixfold.bad(*app, "publish", "order.placed", "--file", "-", code=2, text=text)
        assert "line 1" in said
        said += sixfold.bad(*app, "invoke", "accept", "--event", "-", code=2, text=text)
        assert "fault" not in said
    assert depth < 100_000 or "nested too deeply" in said
    assert not (sixfold.data_dir / "bus").exists()


def test_an_unknown_type_names_near_ones(sixfold: Sixfold) -> None:
    """For every verb that takes a type; a topic likewise."""
    assert "git.pushed" in sixfold.bad("publish", "git.pushd", "--data", "{}", code=2)
    assert "git.pushed" in sixfold.bad("event", "new", "git.pushd", code=2)
    sixfold.good("publish", "git.pushed", "--data", sixfold.good("event", "new", "git.pushed"))
    assert "git.pushed" in sixfold.bad("tail", "git.pushd", code=2)


def test_publish_says_what_it_needs(sixfold: Sixfold) -> None:
    """Neither or both of --data and --file, --count with a file, a file that is not there."""
    assert "event new git.pushed" in sixfold.bad("publish", "git.pushed", code=2)
    assert "--data" in sixfold.bad("publish", "git.pushed", "--data", "{}", "--file", "-", code=2)
    assert "--count" in sixfold.bad("publish", "git.pushed", "--file", "-", "--count", "2", code=2)
    assert "cannot be read" in sixfold.bad("publish", "git.pushed", "--file", "/no/such", code=2)


def test_tail_starts_and_stops_where_it_is_told(sixfold: Sixfold, sample: dict[str, Any]) -> None:
    """earliest, a time, a count; an empty range ends at once; nonsense is refused."""
    sixfold.good("publish", "git.pushed", "--count", "5", "--data", json.dumps(sample))
    assert len(sixfold.good("tail", "git.pushed", "--count", "2").splitlines()) == 2
    assert sixfold.good("tail", "git.pushed", "--from", "2100-01-01T00:00:00Z") == ""
    assert len(sixfold.good("tail", "git.pushed", "--from", "2014-11-12T17:00:00Z").splitlines()) == 5
    assert len(sixfold.good("tail", "git.pushed", "--from", "0").splitlines()) == 5
    assert "expected earliest" in sixfold.bad("tail", "git.pushed", "--from", "tomorrow", code=2)


async def test_a_record_that_cannot_be_decoded_is_shown_raw(sixfold: Sixfold) -> None:
    """No headers, no value, foreign bytes, terminal escapes: every record is a line, none is a crash."""
    odd = [
        bus.NewRecord("odd", b"\x00\x01\xff", key=b"\x1b[31mred"),
        bus.NewRecord("odd", None, key=b"gone"),
        bus.NewRecord("odd", b"\x00\x00\x00\x00\x01", headers=[("ce_type", b"git.pushed"), ("ce_id", b"\xff")]),
        bus.NewRecord("odd", b"", headers=[("ce_type", b"no.such\x1b]0;x\x07")]),
    ]
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        await opened.create_topics([bus.TopicSpec(name="odd", partitions=1)])
        await opened.publish(odd)
    events = [
        json.loads(line) for line in (await asyncio.to_thread(sixfold.good, "tail", "odd", "--json")).splitlines()
    ]
    assert [("data_base64" in each, "tombstone" in each) for each in events] == [
        (True, False),
        (False, True),
        (True, False),
        (True, False),
    ]
    assert all("decodeerror" in each for each in events if "data_base64" in each)
    text = await asyncio.to_thread(sixfold.good, "tail", "odd")
    assert len(text.splitlines()) == 4
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_users_events_are_known_by_app(sixfold: Sixfold) -> None:
    """Before or after the verb."""
    order = '{"order_id": "o-1", "amount_cents": 5}'
    app = str(sixfold.app)
    sixfold.good("--app", app, "publish", "order.placed", "--data", order)
    sixfold.good("publish", "order.placed", "--app", app, "--data", order)
    lines = sixfold.good("tail", "order.placed", "--app", app, "--json").splitlines()
    assert [json.loads(line)["data"]["amount_cents"] for line in lines] == [5, 5]
    made = json.loads(sixfold.good("event", "new", "order.placed", "--app", app))
    assert made == {"order_id": "a order_id", "amount_cents": 1, "note": ""}


def test_lists_are_json_too(sixfold: Sixfold) -> None:
    """functions, topics, event types, dead letters: one document each."""
    app = ["--app", str(sixfold.app)]
    functions = {row["name"]: row for row in sixfold.json(*app, "functions")}
    assert functions["accept"]["on"] == ["order.placed"]
    assert functions["accept"]["emits"] == ["order.accepted"]
    types = {row["type"]: row for row in sixfold.json(*app, "event", "types")}
    assert types["order.placed"]["fields"] == ["order_id", "amount_cents", "note"]
    sixfold.good(*app, "publish", "order.placed", "--count", "3", "--data", '{"order_id": "o-1", "amount_cents": 1}')
    topics = {row["name"]: row for row in sixfold.json(*app, "topics")}
    assert (topics["order.placed"]["records"], topics["order.placed"]["lag"]) == (3, {"accept": 3})
    assert sixfold.json(*app, "dlq", "ls") == []


def test_schemas_are_frozen_and_checked(sixfold: Sixfold) -> None:
    """Freeze writes what is new; an incompatible change fails the check and says what to do."""
    app = ["--app", str(sixfold.app)]
    assert "freeze" in sixfold.run(*app, "schema", "check").stdout
    written = sixfold.json(*app, "schema", "freeze")
    assert sorted(path.rpartition("/schemas/")[2] for path in written) == [
        "order.accepted/v1.avsc",
        "order.placed/v1.avsc",
    ]
    assert sixfold.json(*app, "schema", "check") == []
    sixfold.app.write_text(sixfold.app.read_text().replace("amount_cents: int", "amount_cents: bytes"))
    changed = sixfold.spawn(*app, "schema", "check", "--json")
    assert changed.returncode == 1
    [problem] = json.loads(changed.stdout)
    assert "version=2" in problem["message"]


def test_a_sample_of_any_type_fits_it() -> None:
    """Kept ones and made ones alike."""
    assert json_events.convert(GitPushed, sampling.sample(GitPushed))


def test_a_key_that_is_no_text_is_shown_escaped() -> None:
    """Bytes are never lost to a replacement character."""
    record = bus.Record("t", 0, 0, 0, b"\xff\x00", b"x", ())
    assert records.as_json(record, Registry())["partitionkey"] == "\\xff\x00"
    assert "\x00" not in records.as_text(record, Registry()).plain
