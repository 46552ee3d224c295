"""EventBridge's pattern language, by a table of patterns, events that match and events that do not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sixfold.patterns import PatternError, compile_pattern

ROWS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    # pattern of field "f"; values of it that match; values that do not (... is a field that is not there)
    ({"f": ["a", 5, None, True]}, ["a", 5, 5.0, None, True, ["x", "a"]], ["b", "5", 1, False, ..., [], {"a": 1}]),
    ({"f": [1]}, [1, 1.0, [3, 1]], [True, "1", 2]),
    ({"f": [{"prefix": "eu-"}]}, ["eu-west", "eu-"], ["us", "EU-west", 5, None, ...]),
    ({"f": [{"prefix": {"equals-ignore-case": "Eu-"}}]}, ["EU-west", "eu-"], ["us"]),
    ({"f": [{"suffix": ".png"}]}, ["a.png", ["b.gif", "c.png"]], ["a.PNG", "png"]),
    ({"f": [{"suffix": {"equals-ignore-case": ".PnG"}}]}, ["a.png", "a.PNG"], ["a.gif"]),
    ({"f": [{"equals-ignore-case": "AliCe"}]}, ["alice", "ALICE"], ["alic", "alice "]),
    ({"f": [{"wildcard": "*.txt"}]}, [".txt", "a.b.txt"], ["a.txt.gz", "txt"]),
    ({"f": [{"wildcard": "a*b*c"}]}, ["abc", "a-b-c", "abbc", "axbcbc"], ["acb", "ab", "abcd"]),
    ({"f": [{"wildcard": "aba*aba"}]}, ["abaaba", "aba-aba"], ["ababa", "aba"]),
    ({"f": [{"wildcard": "5\\*\\\\*"}]}, ["5*\\", "5*\\x"], ["5x\\", "5*x"]),
    ({"f": [{"wildcard": "exact"}]}, ["exact"], ["exactly"]),
    ({"f": [{"numeric": ["=", 300]}]}, [300, 3.0e2], [301, "300", True, None]),
    ({"f": [{"numeric": [">", 0, "<=", 5]}]}, [0.1, 5, [9, 3]], [0, 5.1, -1, True]),
    ({"f": [{"cidr": "10.0.0.0/24"}]}, ["10.0.0.1", "10.0.0.255"], ["10.0.1.0", "::1", "no address", 10]),
    ({"f": [{"cidr": "2001:db8::/32"}]}, ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
    ({"f": [{"exists": True}]}, ["", 0, None, False, [1]], [..., [], {"inner": 1}, {}]),
    ({"f": [{"exists": False}]}, [..., [], {"inner": 1}], ["", 0, None, [1]]),
    ({"f": [{"exists": False}, "a"]}, [..., "a"], ["b"]),
    ({"f": [{"anything-but": "a"}]}, ["b", 5, None, ["a", "b"]], ["a", ..., ["a"], {"x": 1}]),
    ({"f": [{"anything-but": ["a", 5]}]}, ["b", 6, True], ["a", 5, 5.0, ...]),
    ({"f": [{"anything-but": {"prefix": "init"}}]}, ["done", 5], ["initial", ...]),
    ({"f": [{"anything-but": {"suffix": ["a", "b"]}}]}, ["c", "ab c"], ["a", "xb"]),
    ({"f": [{"anything-but": {"equals-ignore-case": ["A", "b"]}}]}, ["c"], ["a", "B"]),
    ({"f": [{"anything-but": {"wildcard": "*/lib/*"}}]}, ["/bin/x"], ["/lib/x"]),
    ({"f": {"inner": ["a"]}}, [{"inner": "a"}, [{"inner": "b"}, {"inner": "a"}]], ["a", {"inner": "b"}, {}, ...]),
    # One object of an array must match the whole: what several of them have between them does not count.
    ({"f": {"x": [1], "y": [2]}}, [{"x": 1, "y": 2}, [{"x": 1, "y": 2}]], [[{"x": 1, "y": 3}, {"x": 0, "y": 2}]]),
    ({"f": {"inner": [{"exists": False}]}}, [{}, {"other": 1}, ..., "a"], [{"inner": 1}]),
]  # fmt: skip
CASES = [
    (pattern, {} if value is ... else {"f": value}, expected)
    for pattern, right, wrong in ROWS
    for values, expected in ((right, True), (wrong, False))
    for value in values
]


@pytest.mark.parametrize(("pattern", "event", "expected"), CASES)
def test_a_pattern_matches_what_eventbridge_says(
    pattern: dict[str, Any], event: dict[str, Any], expected: bool
) -> None:
    """Each operator lets through what the user guide says, and nothing else."""
    assert compile_pattern(pattern)(event) is expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"source": "x", "m": {"cpu": 95}}, True),
        ({"source": "x", "m": {"disk": 5}}, True),
        ({"source": "x", "m": {"cpu": 5, "disk": 95}}, False),
        ({"source": "y", "m": {"cpu": 95}}, False),
    ],
)
def test_one_of_the_patterns_of_or_must_match_and_all_fields_beside_it(event: dict[str, Any], expected: bool) -> None:
    """`$or` stands beside fields, at any depth, and within itself."""
    pattern = {
        "source": ["x"],
        "m": {"$or": [{"cpu": [{"numeric": [">", 90]}]}, {"$or": [{"disk": [5]}, {"disk": [6]}]}]},
    }
    assert compile_pattern(pattern)(event) is expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({}, "the pattern is empty"),
        ([], "the pattern: expected an object, found []"),
        ({"f": "a"}, "f: expected an array of alternatives or an object of fields, found 'a'"),
        ({"f": {}}, "f: an empty object"),
        ({"f": []}, "f: an empty array matches nothing"),
        ({"f": [["a"]]}, r"f[0]: expected a value or an operator"),
        ({"f": [{"prefix": "a", "suffix": "b"}]}, "f[0]: expected one operator"),
        ({"f": {"g": [{"like": "a"}]}}, "f.g[0]: unknown operator 'like'; known are: anything-but, cidr"),
        ({"f": [{"prefix": 5}]}, "f[0].prefix: expected a text that is not empty, found 5"),
        ({"f": [{"prefix": {"suffix": "a"}}]}, "f[0].prefix: expected a text or {'equals-ignore-case': text}"),
        ({"f": [{"wildcard": "a**"}]}, "two stars in a row"),
        ({"f": [{"wildcard": "a\\b"}]}, "a backslash stands before *"),
        ({"f": [{"wildcard": "*a" * 17}]}, "17 stars"),
        ({"f": [{"numeric": [">"]}]}, "f[0].numeric: expected an array such as"),
        ({"f": [{"numeric": ["!", 5]}]}, "expected one of = < <= > >=, found '!'"),
        ({"f": [{"numeric": ["=", "5"]}]}, "expected a number, found '5'"),
        ({"f": [{"cidr": "10.0.0.0/99"}]}, "expected a network such as 10.0.0.0/24"),
        ({"f": [{"exists": "yes"}]}, "expected true or false, found 'yes'"),
        ({"f": [{"anything-but": {"numeric": ["=", 1]}}]}, "expected a value, an array of values, or one of prefix"),
        ({"f": [{"anything-but": []}]}, "expected a value or an array of values"),
        ({"f": [{"anything-but": {"prefix": []}}]}, "expected a text that is not empty, found []"),
        ({"$or": [{"f": ["a"]}]}, "$or: expected an array of two or more patterns"),
        ({"$or": [{"f": ["a"]}, 5]}, "$or[1]: expected an object, found 5"),
    ],
)
def test_a_malformed_pattern_is_refused_with_its_place(pattern: Any, message: str) -> None:
    """PatternError says where, what was expected and what was found."""
    with pytest.raises(PatternError) as raised:
        compile_pattern(pattern)
    assert message in str(raised.value)


def test_a_pattern_nested_without_end_is_refused() -> None:
    """Depth has a limit, so no pattern exhausts the stack."""
    pattern: dict[str, Any] = {"f": ["a"]}
    for _ in range(5000):
        pattern = {"f": pattern}
    with pytest.raises(PatternError, match="nested deeper than 32"):
        compile_pattern(pattern)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("fgh"), inner, max_size=3),
    max_leaves=8,
)


@example(event={"f": [None, []]})
@given(event=JSON)
def test_any_event_has_an_answer_and_existence_has_two_sides(event: Any) -> None:
    """No event makes a test raise, and `exists` true and false part all events between them."""
    for pattern, _, _ in ROWS:
        compile_pattern(pattern)(event)
    there, absent = (compile_pattern({"f": [{"exists": side}]})(event) for side in (True, False))
    assert there is not absent


@given(
    parts=st.lists(st.text(alphabet="ab", max_size=3), min_size=1, max_size=4), text=st.text(alphabet="ab", max_size=9)
)
def test_a_wildcard_agrees_with_the_slow_way_of_trying_every_cut(parts: list[str], text: str) -> None:
    """The linear matcher finds a match exactly where one exists."""

    def slow(parts: list[str], text: str) -> bool:
        if len(parts) == 1:
            return text == parts[0]
        return text.startswith(parts[0]) and any(
            slow(parts[1:], text[cut:]) for cut in range(len(parts[0]), len(text) + 1)
        )

    inner = [part for part in parts[1:-1] if part]
    parts = [parts[0], *inner, parts[-1]] if len(parts) > 1 else parts
    if not "*".join(parts):
        return
    assert compile_pattern({"f": [{"wildcard": "*".join(parts)}]})({"f": text}) is slow(parts, text)
