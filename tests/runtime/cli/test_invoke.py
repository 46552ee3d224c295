"""`sixfold invoke`: the result and what would be emitted, with no side effect unless it is asked for."""

from __future__ import annotations

import json

import pytest
from tests.runtime.cli.commands import Sixfold

ORDER = '{"order_id": "o-1", "amount_cents": 5}'


@pytest.mark.parametrize("source", ["-", "file"])
def test_an_invocation_shows_everything_and_stores_nothing(sixfold: Sixfold, source: str) -> None:
    """From a file or standard input; the data folder is not even made."""
    path = sixfold.app.parent / "event.json"
    path.write_text(ORDER)
    words = ["invoke", f"{sixfold.app}:accept", "--event", "-" if source == "-" else str(path)]
    outcome = sixfold.json(*words, text=ORDER)
    assert (outcome["result"], outcome["verdict"], outcome["emitted"]) == ("taken", "ack", False)
    assert [(each["type"], each["data"]) for each in outcome["outputs"]] == [("order.accepted", {"order_id": "o-1"})]
    assert not sixfold.data_dir.exists()
    shown = sixfold.good(*words, text=ORDER)
    assert "would emit order.accepted" in shown
    assert '"taken"' in shown


def test_emit_publishes_the_outputs(sixfold: Sixfold) -> None:
    """And only then; the event itself is not published."""
    app = ["--app", str(sixfold.app)]
    sixfold.good(*app, "publish", "order.placed", "--data", ORDER)
    sixfold.good(*app, "invoke", "accept", "--event", "-", text=ORDER)
    assert "order.accepted" not in {row["name"] for row in sixfold.json(*app, "topics")}
    outcome = sixfold.json(*app, "invoke", "accept", "--event", "-", "--emit", text=ORDER)
    assert outcome["emitted"] is True
    [event] = [json.loads(line) for line in sixfold.good(*app, "tail", "order.accepted", "--json").splitlines()]
    assert event["data"] == {"order_id": "o-1"}
    assert len(sixfold.good(*app, "tail", "order.placed").splitlines()) == 1


def test_a_cloudevent_is_an_event_too(sixfold: Sixfold) -> None:
    """What `tail --json` printed can be invoked again."""
    app = ["--app", str(sixfold.app)]
    sixfold.good(*app, "publish", "order.placed", "--data", ORDER)
    line = sixfold.good(*app, "tail", "order.placed", "--json")
    outcome = sixfold.json(*app, "invoke", "accept", "--event", "-", text=line)
    assert outcome["event_id"] == json.loads(line)["id"]


def test_a_function_that_fails_is_exit_code_1_with_its_error(sixfold: Sixfold) -> None:
    """In Lambda's shape, with what a worker would do next."""
    words = ["invoke", f"{sixfold.app}:accept", "--event", "-"]
    bad = '{"order_id": "o-1", "amount_cents": -5}'
    done = sixfold.run(*words, "--json", text=bad)
    assert done.returncode == 1
    outcome = json.loads(done.stdout)
    assert (outcome["error"]["errorType"], outcome["verdict"]) == ("PermanentError", "park")
    assert "an order below nothing" in sixfold.run(*words, text=bad).stdout


def test_what_cannot_be_invoked_is_wrong_usage(sixfold: Sixfold) -> None:
    """An unknown function, an event that does not fit, a file that is not there."""
    function = f"{sixfold.app}:accept"
    assert "pipeline.source" in sixfold.bad("invoke", "pipeline.sorce", "--event", "-", code=2)
    assert "amount_cents" in sixfold.bad("invoke", function, "--event", "-", code=2, text='{"order_id": "o-1"}')
    assert "not valid JSON" in sixfold.bad("invoke", function, "--event", "-", code=2, text="{")
    assert "cannot be read" in sixfold.bad("invoke", function, "--event", "/no/such", code=2)
    assert "--event" in sixfold.bad("invoke", function, code=2)


def test_a_record_of_the_log_is_invoked_by_its_position(sixfold: Sixfold) -> None:
    """With the id that it has in the log; `--count` takes those after it; nothing is stored."""
    app = ["--app", str(sixfold.app)]
    for _ in range(3):
        [position] = sixfold.json(*app, "publish", "order.placed", "--data", ORDER)
    place = f"order.placed:{position['partition']}"
    [*_, last] = sixfold.good(*app, "tail", "order.placed", "--json").splitlines()
    outcome = sixfold.json(*app, "invoke", "accept", "--from", f"{place}:2")
    assert (outcome["event_id"], outcome["position"]) == (json.loads(last)["id"], f"{place}:2")
    found = sixfold.json(*app, "invoke", "accept", "--from", f"{place}:1", "--count", "5")
    assert [each["position"] for each in found] == [f"{place}:1", f"{place}:2"]
    assert "would emit order.accepted" in sixfold.good(*app, "invoke", "accept", "--from", f"{place}:0")
    assert "order.accepted" not in {row["name"] for row in sixfold.json(*app, "topics")}


def test_a_position_that_means_no_record_is_wrong_usage(sixfold: Sixfold) -> None:
    """The message says what was expected and what there is."""
    app = ["--app", str(sixfold.app)]
    [position] = sixfold.json(*app, "publish", "order.placed", "--data", ORDER)
    assert "TOPIC:PARTITION:OFFSET" in sixfold.bad(*app, "invoke", "accept", "--from", "order.placed", code=2)
    place = f"order.placed:{position['partition']}"
    assert "offsets 0 to 0" in sixfold.bad(*app, "invoke", "accept", "--from", f"{place}:9", code=2)
    assert "partitions 0 to 5" in sixfold.bad(*app, "invoke", "accept", "--from", "order.placed:17:0", code=2)
    assert "either --event" in sixfold.bad(*app, "invoke", "accept", "--from", f"{place}:0", "--event", "-", code=2)
    assert "--count needs --from" in sixfold.bad(*app, "invoke", "accept", "--event", "-", "--count", "2", code=2)


def test_a_lambda_handler_is_given_a_record_of_any_topic(sixfold: Sixfold) -> None:
    """It was named by its file alone, so no topic is declared for it."""
    app = ["--app", str(sixfold.app)]
    handler = sixfold.data_dir.parent / "lambda_of_records.py"
    handler.write_text(
        "def handler(event, context):\n    return {'batchItemFailures': [], 'topics': list(event['records'])}\n"
    )
    [position] = sixfold.json(*app, "publish", "order.placed", "--data", ORDER)
    place = f"order.placed:{position['partition']}:0"
    outcome = sixfold.json(*app, "invoke", f"{handler}:handler", "--from", place)
    assert (outcome["position"], outcome["verdict"], outcome["skipped"]) == (place, "ack", False)
