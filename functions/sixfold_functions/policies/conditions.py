"""Condition operators of policies, as a table: what each says of a key's values and the values that a policy lists.

A key that has several values (a claim that is a list) satisfies a positive operator when any of its values does, and
a negated one when none does, so a negation is exactly the opposite of what it negates. A key that is absent fails
positive operators and satisfies negated ones; `…IfExists` makes absence satisfy either. Names of keys are told apart
without regard to case (`keys.py`), values by what their operator says.

Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from sixfold_functions.policies import keys

Context = Mapping[str, Sequence[str]]
"""Condition keys with the values that they have in this request."""

Test = Callable[[str, str], bool]
"""(value in the request, value in the policy) -> whether they agree."""


class Operator(NamedTuple):
    """One condition operator."""

    test: Test
    negated: bool = False


def like(value: str, pattern: str, *, ignore_case: bool = False) -> bool:
    """Whether the whole of `value` fits `pattern`, in which * is any text and ? any one character.

    Takes at most len(value) * len(pattern) steps: only the last * is ever tried again.
    """
    if ignore_case:
        value, pattern = value.lower(), pattern.lower()
    at = mark = 0
    star = -1
    place = 0
    while at < len(value):
        if place < len(pattern) and pattern[place] == "*":
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", value[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return all(char == "*" for char in pattern[place:])


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")
    return number if number.is_finite() else Decimal("NaN")


def _numeric(compare: Callable[[Decimal, Decimal], bool]) -> Test:
    def test(value: str, wanted: str) -> bool:
        left, right = _number(value), _number(wanted)
        return not (left.is_nan() or right.is_nan()) and compare(left, right)

    return test


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time (UTC where it names no zone) or of the seconds themselves."""
    number = _number(text)
    if not number.is_nan():
        return float(number)
    try:
        found = datetime.datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _dated(compare: Callable[[float, float], bool]) -> Test:
    def test(value: str, wanted: str) -> bool:
        left, right = _moment(value), _moment(wanted)
        return left is not None and right is not None and compare(left, right)

    return test


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _in_network(value: str, wanted: str) -> bool:
    network = _network(wanted)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # what a server that listens on both families sees of an IPv4 client
    return network is not None and address.version == network.version and address in network


def _arn(text: str) -> list[str] | None:
    parts = text.split(":", 5)
    return parts if len(parts) == ARN_PARTS and parts[0] == "arn" else None


def _same_arn(value: str, wanted: str) -> bool:
    """Part by part, so that a * in one of them never reaches into the next."""
    left, right = _arn(value), _arn(wanted)
    return left is not None and right is not None and all(map(like, left, right))


def _equals(value: str, wanted: str) -> bool:
    return value == wanted


def _equals_ignore_case(value: str, wanted: str) -> bool:
    return value.casefold() == wanted.casefold()


def _same_bool(value: str, wanted: str) -> bool:
    return value.lower() in ("true", "false") and value.lower() == wanted.lower()


OPERATORS: Mapping[str, Operator] = {
    "StringEquals": Operator(_equals),
    "StringNotEquals": Operator(_equals, negated=True),
    "StringEqualsIgnoreCase": Operator(_equals_ignore_case),
    "StringNotEqualsIgnoreCase": Operator(_equals_ignore_case, negated=True),
    "StringLike": Operator(like),
    "StringNotLike": Operator(like, negated=True),
    "Bool": Operator(_same_bool),
    "ArnEquals": Operator(_same_arn),
    "ArnNotEquals": Operator(_same_arn, negated=True),
    "ArnLike": Operator(_same_arn),
    "ArnNotLike": Operator(_same_arn, negated=True),
    "IpAddress": Operator(_in_network),
    "NotIpAddress": Operator(_in_network, negated=True),
    "DateEquals": Operator(_dated(lambda left, right: left == right)),
    "DateNotEquals": Operator(_dated(lambda left, right: left == right), negated=True),
    "DateLessThan": Operator(_dated(lambda left, right: left < right)),
    "DateLessThanEquals": Operator(_dated(lambda left, right: left <= right)),
    "DateGreaterThan": Operator(_dated(lambda left, right: left > right)),
    "DateGreaterThanEquals": Operator(_dated(lambda left, right: left >= right)),
    "NumericEquals": Operator(_numeric(lambda left, right: left == right)),
    "NumericNotEquals": Operator(_numeric(lambda left, right: left == right), negated=True),
    "NumericLessThan": Operator(_numeric(lambda left, right: left < right)),
    "NumericLessThanEquals": Operator(_numeric(lambda left, right: left <= right)),
    "NumericGreaterThan": Operator(_numeric(lambda left, right: left > right)),
    "NumericGreaterThanEquals": Operator(_numeric(lambda left, right: left >= right)),
}

ARN_PARTS = 6

_FORMS: Sequence[tuple[str, str, Callable[[str], bool]]] = (
    ("Numeric", "a number", lambda text: not _number(text).is_nan()),
    ("Bool", "true or false", lambda text: text.lower() in ("true", "false")),
    ("Null", "true or false", lambda text: text.lower() in ("true", "false")),
    ("Date", "a time such as 2026-01-31T12:00:00Z", lambda text: _moment(text) is not None),
    ("Arn", "an ARN of six parts, such as arn:aws:iam::000000000000:role/*", lambda text: _arn(text) is not None),
    ("IpAddress", "an address or a network such as 10.0.0.0/8", lambda text: _network(text) is not None),
    ("NotIpAddress", "an address or a network such as 10.0.0.0/8", lambda text: _network(text) is not None),
)
"""(what an operator's name begins with, what its values must be, whether one is)."""

POSITIVE_STRINGS = ("StringEquals", "StringLike")
"""Operators that can pin a subject down."""

_SETS = ("ForAnyValue:", "ForAllValues:")


class Condition(NamedTuple):
    """One line of a condition block: an operator, a key, the values that the policy lists."""

    operator: str
    key: str
    values: tuple[str, ...]


def problem(operator: str, key: str, values: Sequence[str]) -> str | None:
    """Why this line cannot be stored, None where it can: an unknown operator must never be stored as if it held."""
    quantifier, name, if_exists = split(operator)
    if name == "Null" and (quantifier or if_exists):
        return f"operator {operator!r}: Null takes no ForAnyValue, ForAllValues or IfExists"
    if name != "Null" and name not in OPERATORS:
        return f"operator {operator!r} is unknown; known are Null, {', '.join(OPERATORS)}, each with IfExists"
    if quantifier == "ForAllValues:" and keys.fold(key).startswith(keys.fold(keys.ENCRYPTION_CONTEXT)):
        # AWS KMS Developer Guide: ForAllValues holds for an absent key, which would open the key to any context.
        return f"operator {operator!r} on {key!r}: ForAllValues holds where the key is absent; use a plain operator"
    for beginning, expected, fits in _FORMS:
        if name.startswith(beginning):
            wrong = [value for value in values if not fits(value)]
            return f"{operator} on {key!r}: expected {expected}, found {wrong[0]!r}" if wrong else None
    return None


def split(operator: str) -> tuple[str, str, bool]:
    """`ForAnyValue:StringLikeIfExists` -> ("ForAnyValue:", "StringLike", True)."""
    quantifier = next((prefix for prefix in _SETS if operator.startswith(prefix)), "")
    name = operator[len(quantifier) :]
    if_exists = name.endswith("IfExists")
    return quantifier, name.removesuffix("IfExists"), if_exists


def holds(condition: Condition, context: Context) -> bool:
    """Whether one line of a condition block holds in `context`, whose names are folded (`keys.folded`)."""
    quantifier, name, if_exists = split(condition.operator)
    found = context.get(keys.fold(condition.key), ())
    if name == "Null":
        return ("true" if not found else "false") in {value.lower() for value in condition.values}
    operator = OPERATORS[name]
    if not found:
        if quantifier == "ForAnyValue:":
            return if_exists
        return if_exists or operator.negated or quantifier == "ForAllValues:"

    def agrees(value: str) -> bool:
        return any(operator.test(value, wanted) for wanted in condition.values) is not operator.negated

    if quantifier == "ForAllValues:" or (not quantifier and operator.negated):
        return all(agrees(value) for value in found)
    return any(agrees(value) for value in found)
