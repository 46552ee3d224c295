"""The audit trail: whatever is done to it, verifying says what and where."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold_events.kms import KmsAudited
from sixfold_functions.kms import audit


def chain(count: int, name: str = "kms.requests-0") -> list[KmsAudited]:
    head, links = audit.EMPTY, []
    for number in range(count):
        links.append(audit.link(name, head, {"eventName": "Decrypt", "eventID": f"{name}/{number}", "errorCode": ""}))
        head = audit.Head(links[-1].seq, links[-1].hash)
    return links


def problems(links: list[KmsAudited], expected: dict[str, audit.Head] | None = None) -> list[str]:
    return [f"{each.seq}: {each.message}" for each in audit.verify(links, expected).problems]


def forged(link: KmsAudited, **changes: Any) -> KmsAudited:
    """A link whose record was changed and whose hash was made to fit."""
    record = audit.canonical({**json.loads(link.record), **changes})
    return msgspec.structs.replace(link, record=record, hash=audit.leaf(record))


def test_an_untouched_trail_of_several_chains_verifies() -> None:
    """Chains may be mixed in any way; each has its own order."""
    first, second = chain(5), chain(3, "identity.calls-0")
    mixed = [first[0], second[0], first[1], first[2], second[1], first[3], second[2], first[4]]
    report = audit.verify(mixed)
    assert report.problems == ()
    assert report.links == 8
    assert report.heads["kms.requests-0"] == audit.Head(5, first[4].hash)


def test_a_changed_link_is_named() -> None:
    """A flipped bit in the record, or fields that say something else than it."""
    links = chain(4)
    links[1] = msgspec.structs.replace(links[1], record=links[1].record.replace("Decrypt", "Decryqt"))
    assert problems(links)[0].startswith("2: changed")
    links = chain(4)
    links[1] = msgspec.structs.replace(links[1], error_code="AccessDeniedException")
    assert problems(links)[0].startswith("2: changed")


def test_a_forged_link_with_a_fitting_hash_breaks_the_next_one() -> None:
    """Changing a link means changing all that follow."""
    links = chain(4)
    links[1] = forged(links[1], eventName="Decrypt", who="nobody")
    found = problems(links)
    assert len(found) == 1
    assert found[0].startswith(f"3: broken: it repeats {chain(4)[1].hash[:16]}…")


def test_a_dropped_link_is_named() -> None:
    """A gap shows at the link after it."""
    links = chain(5)
    assert problems(links[:2] + links[3:]) == ["4: missing: link 3 should stand before it"]
    assert problems(links[1:])[0] == "2: missing: link 1 should stand before it"


def test_swapped_links_are_named() -> None:
    """The order is part of the trail."""
    links = chain(4)
    assert problems([links[0], links[2], links[1], links[3]])


def test_a_trail_cut_at_its_end_is_found_by_a_noted_head() -> None:
    """A chain cannot know its own future; a head that was noted before can."""
    links = chain(5)
    noted = {"kms.requests-0": audit.Head(5, links[4].hash)}
    assert problems(links, noted) == []
    assert problems(links[:3]) == []
    assert "5: missing" in problems(links[:3], noted)[0]
    assert "5: missing" in problems([], noted)[0]


def test_a_fork_is_named() -> None:
    """Two links of different calls cannot both be the third."""
    links = chain(4)
    fork = audit.link("kms.requests-0", audit.Head(2, links[1].hash), {"eventName": "Decrypt", "eventID": "other"})
    assert problems([*links[:3], fork, links[3]])[0] == "3: out of order: it stands after link 3"


def test_a_link_that_a_crash_doubled_is_no_problem_and_the_chain_goes_on_from_either() -> None:
    """The same call may be audited twice, at different times; only then may two links have one number."""
    links = chain(3)
    record = {"eventName": "Decrypt", "eventID": "kms.requests-0/1", "errorCode": "", "eventTime": "later"}
    again = audit.link("kms.requests-0", audit.Head(1, links[0].hash), record)
    after = audit.link("kms.requests-0", audit.Head(2, again.hash), {"eventName": "Decrypt", "eventID": "x"})
    assert problems([*links[:2], again, after]) == []
    assert problems([*links[:2], again, links[2]]) == []


def again(links: list[KmsAudited], start: int, name: str = "kms.requests-0") -> list[KmsAudited]:
    """The links from number `start` on as a crash makes them again: about the same calls, at another time."""
    head, made = audit.Head(links[start - 2].seq, links[start - 2].hash) if start > 1 else audit.EMPTY, []
    for link in links[start - 1 :]:
        record = {**json.loads(link.record), "eventTime": "later"}
        made.append(audit.link(name, head, record))
        head = audit.Head(made[-1].seq, made[-1].hash)
    return made


@pytest.mark.parametrize("start", [1, 4, 8])
def test_links_that_a_crash_repeated_are_no_problem_and_are_counted(start: int) -> None:
    """However many a settle held: the chain goes back, says the same calls in the same order, and goes on from there."""
    links = chain(8)
    repeated = again(links, start)
    onward = audit.link("kms.requests-0", audit.Head(8, repeated[-1].hash), {"eventName": "Decrypt", "eventID": "x"})
    report = audit.verify([*links, *repeated, onward])
    assert (report.problems, report.repeated) == ((), 9 - start)
    assert report.heads["kms.requests-0"] == audit.Head(9, onward.hash)
    twice = audit.verify([*links, *repeated[:1], *again(links, start)[:1], *repeated[1:]])
    assert (twice.problems, twice.repeated) == ((), 10 - start), "a crash while it was repeated"


def test_what_only_looks_like_a_crash_is_named() -> None:
    """Other calls, another order, a gap, or a return to long ago: a crash makes none of these."""
    links = chain(8)
    repeated = again(links, 4)
    other = audit.link("kms.requests-0", audit.Head(3, links[2].hash), {"eventName": "Decrypt", "eventID": "other"})
    assert problems([*links, other]) == ["4: out of order: it stands after link 8"]
    swapped = audit.link("kms.requests-0", audit.Head(3, links[2].hash), json.loads(links[4].record))
    assert problems([*links, swapped]) == ["4: out of order: it stands after link 8"]
    assert problems([*links, *repeated[1:]])[0].startswith("5: broken")
    long = chain(audit.REWIND_MAX + 10)
    assert problems([*long, *again(long, 5)[:1]]) == [f"5: out of order: it stands after link {len(long)}"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
        max_leaves=10,
    )
)
def test_canonical_json_is_json_and_independent_of_order(value: object) -> None:
    """RFC 8785: the same thing always has the same bytes, and any JSON parser reads them."""
    text = audit.canonical(value)
    assert json.loads(text) == value
    if isinstance(value, dict):
        assert audit.canonical(dict(reversed(value.items()))) == text


def test_canonical_json_sorts_names_by_utf_16() -> None:
    """RFC 8785's own example of sorting."""
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(audit.canonical(names)).values()) == [2, 4, 6, 7, 1, 5, 3]


@pytest.mark.parametrize("record", ["", "[]", "{}", "null", '{"chain": 1}', "[" * 5000])
def test_a_record_that_is_no_record_is_a_problem_not_a_crash(record: str) -> None:
    """Whatever stands in the topic."""
    link = KmsAudited(chain="c", seq=1, event_name="Decrypt", record=record, hash=audit.leaf(record))
    assert problems([link])[0].startswith("1: changed")
