"""What a Lambda handler's answer to a batch means: Lambda's rules for `ReportBatchItemFailures` on a Kafka source. Pure.

=====================================================================  ===========================================
the handler returns                                                    then
=====================================================================  ===========================================
None, `{}`, an object without `batchItemFailures`                      every record is done
`{"batchItemFailures": []}`, `{"batchItemFailures": null}`             every record is done
`{"itemIdentifier": {"partition": "orders-0", "offset": 15}}` in it    that record, and all behind it of its
                                                                       partition, have failed; the rest is done
a name in another case (`batchitemfailures`, `ItemIdentifier`)         the whole batch has failed
an identifier that is malformed, or of no record of the batch          the whole batch has failed
anything but an object                                                 the whole batch has failed
=====================================================================  ===========================================

Where nothing can be understood nothing may be passed over: a typing error must not lose records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sixfold import errors
from sixfold.bus import port
from sixfold.lambdas.events import partition_name

FAILURES = "batchItemFailures"
IDENTIFIER = "itemIdentifier"


class MalformedAnswerError(errors.TemporaryError):
    """A handler's answer does not say which records failed, so the whole batch counts as failed."""


class ReportedFailureError(errors.TemporaryError):
    """The handler named this record as failed."""


class BehindFailureError(errors.TemporaryError):
    """A record before this one in its partition was named as failed, so this one is given again too."""


def failures(answer: Any, records: Sequence[port.Record]) -> dict[int, errors.TemporaryError]:
    """The records that failed, by their place in the batch. Raises MalformedAnswerError where all of them did."""
    if answer is None:
        return {}
    if not isinstance(answer, Mapping):
        raise MalformedAnswerError(f'expected None or {{"{FAILURES}": […]}}, found {_shown(answer)}')
    for name in answer:
        if name != FAILURES and isinstance(name, str) and name.lower() == FAILURES.lower():
            raise MalformedAnswerError(f"expected {FAILURES!r}, found {name!r}; the case of letters matters")
    named = answer.get(FAILURES)
    if named is None:
        return {}
    if not isinstance(named, Sequence) or isinstance(named, str | bytes):
        raise MalformedAnswerError(f"{FAILURES}: expected a list, found {_shown(named)}")
    places = {(partition_name(record), record.offset): place for place, record in enumerate(records)}
    reported = {_place(each, places) for each in named}
    failed: dict[int, errors.TemporaryError] = {}
    broken: dict[str, int] = {}
    for place, record in enumerate(records):
        partition = partition_name(record)
        if place in reported:
            broken.setdefault(partition, record.offset)
            failed[place] = ReportedFailureError(f"the handler named it in {FAILURES}")
        elif partition in broken:
            failed[place] = BehindFailureError(f"offset {broken[partition]} of {partition} failed before it")
    return failed


def _place(failure: Any, places: Mapping[tuple[str, int], int]) -> int:
    """The place in the batch of one member of the list."""
    if not isinstance(failure, Mapping) or IDENTIFIER not in failure:
        raise MalformedAnswerError(f'{FAILURES}: expected {{"{IDENTIFIER}": …}}, found {_shown(failure)}')
    match failure[IDENTIFIER]:
        case {"partition": str(partition), "offset": int(offset)} if not isinstance(offset, bool):
            if (partition, offset) not in places:
                raise MalformedAnswerError(
                    f"{IDENTIFIER}: offset {offset} of {partition} is not in the batch; it must be a record of the "
                    'event, its partition written as "topic-partition"'
                )
            return places[partition, offset]
        case other:
            raise MalformedAnswerError(
                f'{IDENTIFIER}: expected {{"partition": "topic-0", "offset": 15}}, found {_shown(other)}'
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
