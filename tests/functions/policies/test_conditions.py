"""Operators on times, addresses and ARNs, one case a line: what agrees, what does not, what cannot be stored."""

from __future__ import annotations

import pytest

from sixfold_functions.policies import conditions
from sixfold_functions.policies.conditions import Condition

KEY = "aws:PrincipalTag/x"
ROLE = "arn:aws:iam::000000000000:role"

CASES = [
    ("DateEquals", "2026-01-31T12:00:00Z", "2026-01-31T14:00:00+02:00", True),
    ("DateEquals", "2026-01-31T12:00:00Z", "1769860800", True),
    ("DateEquals", "2026-01-31", "2026-01-31T00:00:00Z", True),
    ("DateNotEquals", "2026-01-31", "2026-02-01", True),
    ("DateLessThan", "2026-01-31T11:59:59Z", "2026-01-31T12:00:00Z", True),
    ("DateLessThan", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", False),
    ("DateLessThanEquals", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", True),
    ("DateGreaterThan", "2026-01-31T12:00:01Z", "2026-01-31T12:00:00Z", True),
    ("DateGreaterThanEquals", "2026-01-31T12:00:00Z", "2026-01-31T12:00:01Z", False),
    ("DateLessThan", "yesterday", "2026-01-31T12:00:00Z", False),
    ("DateGreaterThan", "yesterday", "2026-01-31T12:00:00Z", False),
    ("IpAddress", "10.1.2.3", "10.0.0.0/8", True),
    ("IpAddress", "11.1.2.3", "10.0.0.0/8", False),
    ("IpAddress", "10.1.2.3", "10.1.2.3", True),
    ("IpAddress", "::ffff:10.1.2.3", "10.0.0.0/8", True),
    ("IpAddress", "2001:db8::1", "2001:db8::/32", True),
    ("IpAddress", "2001:db8::1", "10.0.0.0/8", False),
    ("IpAddress", "somewhere", "0.0.0.0/0", False),
    ("NotIpAddress", "11.1.2.3", "10.0.0.0/8", True),
    ("NotIpAddress", "10.1.2.3", "10.0.0.0/8", False),
    ("ArnLike", f"{ROLE}/payments", f"{ROLE}/pay*", True),
    ("ArnEquals", f"{ROLE}/payments", f"{ROLE}/pay*", True),
    ("ArnEquals", f"{ROLE}/payments", f"{ROLE}/payments", True),
    ("ArnLike", f"{ROLE}/payments", "arn:aws:*:000000000000:role/*:*", False),
    ("ArnLike", f"{ROLE}/payments", "arn:*:iam::*:role/payments", True),
    ("ArnLike", "arn:aws:sts::1:assumed-role/a:b", "arn:aws:sts::1:assumed-role/a:?", True),
    ("ArnLike", "payments", f"{ROLE}/*", False),
    ("ArnNotLike", f"{ROLE}/sales", f"{ROLE}/pay*", True),
    ("ArnNotEquals", f"{ROLE}/payments", f"{ROLE}/payments", False),
]


@pytest.mark.parametrize(("operator", "value", "wanted", "expected"), CASES)
def test_each_operator_says_what_awss_page_says(operator: str, value: str, wanted: str, expected: bool) -> None:
    """A value that is no time, address or ARN agrees with nothing, whatever the comparison."""
    assert conditions.problem(operator, KEY, [wanted]) is None
    assert conditions.holds(Condition(operator, KEY, (wanted,)), {KEY.casefold(): (value,)}) is expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("DateLessThan", "tomorrow", "a time such as"),
        ("DateEqualsIfExists", "", "a time such as"),
        ("IpAddress", "10.0.0.0/33", "an address or a network"),
        ("NotIpAddress", "everywhere", "an address or a network"),
        ("ArnLike", "role/payments", "an ARN of six parts"),
        ("ForAnyValue:ArnNotLike", "*", "an ARN of six parts"),
        ("NumericEquals", "many", "a number"),
        ("BoolIfExists", "yes", "true or false"),
        ("DateBefore", "2026-01-31", "is unknown"),
    ],
)
def test_a_value_that_could_never_agree_is_refused_when_it_is_stored(operator: str, value: str, expected: str) -> None:
    """Else a Deny that its author relies on would never apply."""
    assert expected in (conditions.problem(operator, KEY, [value]) or "")
