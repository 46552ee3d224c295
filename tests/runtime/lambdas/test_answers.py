"""What a Lambda handler's answer means: each row of Lambda's rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold.bus import Record
from sixfold.lambdas import answers


def record(partition: int, offset: int) -> Record:
    """Of the topic `orders`."""
    return Record("orders", partition, offset, 0, None, b"{}", [])


RECORDS = [record(0, 10), record(1, 5), record(0, 11), record(0, 13), record(1, 6)]


def named(*places: tuple[Any, Any]) -> dict[str, Any]:
    """An answer that names these."""
    return {"batchItemFailures": [{"itemIdentifier": {"partition": p, "offset": o}} for p, o in places]}


@pytest.mark.parametrize(
    "answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, {"statusCode": 200, "body": "ok"}]
)
def test_an_answer_without_failures_is_success(answer: Any) -> None:
    """None, an empty object, an empty or null list, and answers that say something else."""
    assert answers.failures(answer, RECORDS) == {}


def test_a_named_record_fails_with_all_behind_it_of_its_partition() -> None:
    """From the lowest failed position of each partition on; other partitions are done."""
    assert sorted(answers.failures(named(("orders-0", 11)), RECORDS)) == [2, 3]
    assert sorted(answers.failures(named(("orders-0", 13), ("orders-0", 10)), RECORDS)) == [0, 2, 3]
    assert sorted(answers.failures(named(("orders-1", 6), ("orders-0", 13)), RECORDS)) == [3, 4]
    assert sorted(answers.failures(named(("orders-1", 5), ("orders-1", 5)), RECORDS)) == [1, 4]


@pytest.mark.parametrize(
    "answer",
    [
        "done", True, 0, [], b"",
        {"batchitemfailures": []}, {"BatchItemFailures": []}, {"batchItemFailures": "none"}, {"batchItemFailures": {}},
        {"batchItemFailures": [None]}, {"batchItemFailures": ["orders-0"]}, {"batchItemFailures": [{}]},
        {"batchItemFailures": [{"ItemIdentifier": {"partition": "orders-0", "offset": 10}}]},
        {"batchItemFailures": [{"itemIdentifier": None}]}, {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": "orders-0-10"}]},
        {"batchItemFailures": [{"itemIdentifier": {"Partition": "orders-0", "Offset": 10}}]},
        {"batchItemFailures": [{"itemIdentifier": {"partition": "orders-0"}}]},
        named(("orders-0", "10")), named(("orders-0", 10.0)), named(("orders-0", True)), named((0, 10)),
        named(("orders-0", 12)), named(("orders-2", 10)), named(("orders-0", 10), ("orders-0", 99)),
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_understood_fails_the_whole_batch(answer: Any) -> None:
    """Malformed or unknown identifiers, wrong casing, and answers that are no object: nothing is passed over."""
    with pytest.raises(answers.MalformedAnswerError):
        answers.failures(answer, RECORDS)


@given(st.sets(st.integers(0, 4)))
def test_no_record_is_done_that_lies_behind_a_failed_one(failed: set[int]) -> None:
    """For every choice of failures: done records form a prefix of each partition, and no named one is done."""
    found = answers.failures(named(*((f"orders-{RECORDS[n].partition}", RECORDS[n].offset) for n in failed)), RECORDS)
    assert failed <= found.keys()
    for partition in (0, 1):
        done = [n not in found for n, each in enumerate(RECORDS) if each.partition == partition]
        assert done == sorted(done, reverse=True)
