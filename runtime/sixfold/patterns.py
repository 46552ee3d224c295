"""EventBridge's pattern language: which events a filter lets through, compiled once into closures.

A pattern is JSON. An object names fields, all of which must match; an array holds the alternatives for one field, one
of which must. An alternative is a plain value or an operator::

    {"value": {"status": ["paid", {"prefix": "re"}], "amount": [{"numeric": [">", 0, "<=", 100]}]}}

==========================================================  =====================================================
operator                                                    matches a field that
==========================================================  =====================================================
``"text"``, ``5``, ``true``, ``null``                       equals it; numbers by value, so 300 is 3.0e2
``{"prefix": t}``, ``{"suffix": t}``                        is text that begins or ends with `t`
``{"prefix": {"equals-ignore-case": t}}``                   the same, whatever the case (`suffix` too)
``{"equals-ignore-case": t}``                               is `t`, whatever the case
``{"wildcard": t}``                                         is text like `t`; ``*`` stands for any, ``\\*`` for itself
``{"numeric": [op, n, …]}``                                 is a number, ``=``, ``<``, ``<=``, ``>``, ``>=`` to each `n`
``{"cidr": "10.0.0.0/24"}``                                 is an IP address of that network
``{"exists": true}`` (``false``)                            is there and no object (is not)
``{"anything-but": v}``                                     is there and is not `v`: a value, an array of values, or one
                                                            of ``prefix``, ``suffix``, ``wildcard``,
                                                            ``equals-ignore-case`` with a text or an array of texts
``{"$or": [{…}, {…}]}`` in place of a field                 the object matches one of the patterns
==========================================================  =====================================================

A field that is an array matches where one of its elements does; an array of objects where one of the objects matches
the whole sub-pattern. Source: Amazon EventBridge user guide, "Comparison operators for use in event patterns", and
Lambda's developer guide, "Control which events Lambda sends to your function".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sixfold import errors

DEPTH_MAX = 32
"""How deep objects may lie in each other in a pattern."""
ALTERNATIVES_MAX = 10_000
"""Alternatives of one pattern; EventBridge's is lower, and what ours cost is linear."""
WILDCARDS_MAX = 16
"""Stars in one wildcard text."""

Test = Callable[[Any], bool]
"""Whether a field's value matches; a field that is not there is `MISSING`."""


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "missing"


MISSING: Any = _Missing()
_SCALARS = (str, int, float, bool, type(None))


class PatternError(errors.SixfoldError, ValueError):
    """A pattern is malformed; the message names the place in it, what was expected and what was found."""


def compile_pattern(pattern: Mapping[str, Any]) -> Test:
    """A test for events of builtin types (mappings, sequences, text, numbers, None). Raises PatternError."""
    if not isinstance(pattern, Mapping):
        raise _wrong("the pattern", "an object", pattern)
    if not pattern:
        raise PatternError("the pattern is empty; name at least one field, or leave the filter out")
    return _object(pattern, "", DEPTH_MAX)


def _object(pattern: Mapping[str, Any], place: str, depth: int) -> Test:
    if depth == 0:
        raise PatternError(f"{place}: the pattern is nested deeper than {DEPTH_MAX} objects")
    fields: list[tuple[str, Test]] = []
    choices: list[list[Test]] = []
    for name, inner in pattern.items():
        here = f"{place}.{name}" if place else str(name)
        if name == "$or":
            choices.append(_choices(inner, here, depth))
        elif isinstance(inner, Mapping):
            if not inner:
                raise PatternError(f"{here}: an empty object; name a field of it, or write [{{'exists': true}}]")
            fields.append((name, _nested(_object(inner, here, depth - 1))))
        elif isinstance(inner, (list, tuple)):
            fields.append((name, _alternatives(inner, here)))
        else:
            raise _wrong(here, "an array of alternatives or an object of fields", inner)

    def matches(event: Any) -> bool:
        if not isinstance(event, Mapping):
            event = {}
        for field, test in fields:
            if not test(event.get(field, MISSING)):
                return False
        return all(any(test(event) for test in tests) for tests in choices)

    return matches


def _choices(inner: Any, place: str, depth: int) -> list[Test]:
    if not isinstance(inner, (list, tuple)) or len(inner) < 2:
        raise _wrong(place, "an array of two or more patterns", inner)
    tests = []
    for index, each in enumerate(inner):
        if not isinstance(each, Mapping) or not each:
            raise _wrong(f"{place}[{index}]", "an object", each)
        tests.append(_object(each, f"{place}[{index}]", depth - 1))
    return tests


def _nested(test: Test) -> Test:
    def matches(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(matches(each) for each in value)
        return test(value)  # a field that is no object has none of the fields below it

    return matches


def _alternatives(inner: Sequence[Any], place: str) -> Test:
    if not inner:
        raise PatternError(f"{place}: an empty array matches nothing; name at least one alternative")
    if len(inner) > ALTERNATIVES_MAX:
        raise PatternError(f"{place}: {len(inner):,} alternatives, expected {ALTERNATIVES_MAX:,} or fewer")
    plain = _Values([each for each in inner if isinstance(each, _SCALARS)])
    tests: list[Test] = [plain] if plain else []
    whole: list[Test] = []
    for index, each in enumerate(inner):
        if isinstance(each, Mapping):
            name, operand, here = _operator(each, f"{place}[{index}]")
            (whole if name == "exists" else tests).append(_OPERATORS[name](operand, here))
        elif not isinstance(each, _SCALARS):
            raise _wrong(f"{place}[{index}]", "a value or an operator such as {'prefix': …}", each)

    def element(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(element(each) for each in value)
        return value is not MISSING and not isinstance(value, Mapping) and any(test(value) for test in tests)

    def matches(value: Any) -> bool:
        return any(test(value) for test in whole) or element(value)

    return matches


class _Values:
    """Equality with one of several plain values: a look-up, however many there are."""

    def __init__(self, values: Iterable[Any]) -> None:
        # True == 1 in Python, not in JSON.
        self._values = {(isinstance(value, bool), value) for value in values}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __call__(self, value: Any) -> bool:
        return isinstance(value, _SCALARS) and (isinstance(value, bool), value) in self._values


def _operator(each: Mapping[str, Any], place: str) -> tuple[str, Any, str]:
    if len(each) != 1:
        raise _wrong(place, "one operator", each)
    [(name, operand)] = each.items()
    if name not in _OPERATORS:
        raise PatternError(f"{place}: unknown operator {name!r}; known are: {', '.join(sorted(_OPERATORS))}")
    return name, operand, f"{place}.{name}"


def _text(operand: Any, place: str) -> str:
    if not isinstance(operand, str) or not operand:
        raise _wrong(place, "a text that is not empty", operand)
    return operand


def _on_text(test: Callable[[str], bool]) -> Test:
    return lambda value: isinstance(value, str) and test(value)


def _affix(method: str) -> Callable[[Any, str], Test]:
    def build(operand: Any, place: str) -> Test:
        if isinstance(operand, Mapping):
            name, text, here = _operator(operand, place)
            if name != "equals-ignore-case":
                raise _wrong(place, "a text or {'equals-ignore-case': text}", operand)
            folded = _text(text, here).casefold()
            return _on_text(lambda value: bool(getattr(value.casefold(), method)(folded)))
        affix = _text(operand, place)
        return _on_text(lambda value: bool(getattr(value, method)(affix)))

    return build


def _ignore_case(operand: Any, place: str) -> Test:
    folded = _text(operand, place).casefold()
    return _on_text(lambda value: value.casefold() == folded)


def _wildcard(operand: Any, place: str) -> Test:
    parts: list[str] = [""]
    text, index = _text(operand, place), 0
    while index < len(text):
        if text[index] == "\\":
            if text[index + 1 : index + 2] not in ("*", "\\"):
                raise PatternError(f"{place}: a backslash stands before * or another backslash, found {text!r}")
            index += 1
            parts[-1] += text[index]
        elif text[index] == "*":
            if index and text[index - 1] == "*" and parts[-1] == "" and len(parts) > 1:
                raise PatternError(f"{place}: two stars in a row in {text!r}; one matches any text")
            parts.append("")
        else:
            parts[-1] += text[index]
        index += 1
    if len(parts) - 1 > WILDCARDS_MAX:
        raise PatternError(f"{place}: {len(parts) - 1} stars in {text!r}, expected {WILDCARDS_MAX} or fewer")
    return _on_text(_glob(parts))


def _glob(parts: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text is `parts` with anything between them; linear, where a regular expression could backtrack."""
    if len(parts) == 1:
        return lambda value: value == parts[0]
    first, *middle, last = parts

    def matches(value: str) -> bool:
        if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
            return False
        position, end = len(first), len(value) - len(last)
        for part in middle:
            position = value.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True

    return matches


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numeric(operand: Any, place: str) -> Test:
    if not isinstance(operand, (list, tuple)) or len(operand) not in (2, 4):
        raise _wrong(place, "an array such as ['>', 0] or ['>', 0, '<=', 5]", operand)
    bounds = []
    for name, bound in zip(operand[::2], operand[1::2], strict=True):
        if not isinstance(name, str) or name not in _COMPARE:
            raise _wrong(place, f"one of {' '.join(_COMPARE)}", name)
        if not _is_number(bound):
            raise _wrong(place, "a number", bound)
        bounds.append((_COMPARE[name], bound))
    return lambda value: _is_number(value) and all(compare(value, bound) for compare, bound in bounds)


def _cidr(operand: Any, place: str) -> Test:
    try:
        network = ipaddress.ip_network(_text(operand, place), strict=False)
    except ValueError as error:
        raise PatternError(f"{place}: {error}; expected a network such as 10.0.0.0/24") from error

    def inside(value: str) -> bool:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return address.version == network.version and address in network

    return _on_text(inside)


def _exists(operand: Any, place: str) -> Test:
    if not isinstance(operand, bool):
        raise _wrong(place, "true or false", operand)

    def there(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(there(each) for each in value)
        return value is not MISSING and not isinstance(value, Mapping)

    return lambda value: there(value) is operand


_EXCLUDABLE = ("prefix", "suffix", "wildcard", "equals-ignore-case")


def _anything_but(operand: Any, place: str) -> Test:
    if isinstance(operand, Mapping):
        name, texts, here = _operator(operand, place)
        if name not in _EXCLUDABLE:
            raise _wrong(place, f"a value, an array of values, or one of {', '.join(_EXCLUDABLE)}", operand)
        listed = texts if isinstance(texts, (list, tuple)) and texts else [texts]
        excluded = [_OPERATORS[name](text, here) for text in listed]
        return lambda value: not any(test(value) for test in excluded)
    values = operand if isinstance(operand, (list, tuple)) else [operand]
    if not values or not all(isinstance(value, _SCALARS) for value in values):
        raise _wrong(place, "a value or an array of values", operand)
    equal = _Values(values)
    return lambda value: not equal(value)


_OPERATORS: dict[str, Callable[[Any, str], Test]] = {
    "anything-but": _anything_but,
    "cidr": _cidr,
    "equals-ignore-case": _ignore_case,
    "exists": _exists,
    "numeric": _numeric,
    "prefix": _affix("startswith"),
    "suffix": _affix("endswith"),
    "wildcard": _wildcard,
}


def _wrong(place: str, expected: str, found: Any) -> PatternError:
    text = re.sub(r"\s+", " ", repr(found))
    return PatternError(f"{place}: expected {expected}, found {text[:80]}")
