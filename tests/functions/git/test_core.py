"""What of a repository's ref history is not in the log yet: the pure part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sixfold_functions.git import core

ZERO = core.NO_COMMIT
A, B, C, D = (letter * 40 for letter in "abcd")
REF = "refs/heads/main"
LINE_BYTES = 100


def log(*pairs: tuple[str, str], start: int = 0) -> list[core.Line]:
    return [
        core.Line(old, new, "operator:bootstrap", 1000 * index, start + (index + 1) * LINE_BYTES)
        for index, (old, new) in enumerate(pairs)
    ]


def pairs_of(known: core.Known, current: str, before: str | None, lines: list[core.Line]) -> list[tuple[str, str]]:
    moves, after = core.moves(REF, known, current, before, lines, 7)
    assert after.commit == current
    assert [move.number for move in moves] == list(range(known.moves, known.moves + len(moves)))
    assert after.moves == known.moves + len(moves)
    return [(move.old, move.new) for move in moves]


def test_each_line_of_the_log_is_a_move() -> None:
    """Every move since the last published one comes out, in order, with who did it."""
    lines = log((ZERO, A), (A, B), (B, C))
    assert pairs_of(core.Known(), C, ZERO, lines) == [(ZERO, A), (A, B), (B, C)]
    moves, known = core.moves(REF, core.Known(), C, ZERO, lines, 7)
    assert {move.who for move in moves} == {"operator:bootstrap"}
    assert known == core.Known(C, 300, 3)
    assert core.moves(REF, known, C, C, [], 7) == ([], known)


def test_a_line_whose_move_did_not_happen_is_skipped() -> None:
    """Git writes the line just before the ref: a crash between them leaves a line that is no move."""
    assert pairs_of(core.Known(A, 100, 1), A, A, log((A, B), start=100)) == []
    assert pairs_of(core.Known(A, 100, 1), C, A, log((A, B), (A, C), start=100)) == [(A, C)]
    assert pairs_of(core.Known(A, 100, 1), C, A, log((A, C), (C, B), start=100)) == [(A, C)]


def test_going_back_and_forth_gives_moves_with_different_ids() -> None:
    """The same old and new a second time is another move, with another event id."""
    lines = log((ZERO, A), (A, B), (B, A), (A, B))
    moves, _ = core.moves(REF, core.Known(), B, ZERO, lines, 7)
    assert [(move.old, move.new) for move in moves] == [(ZERO, A), (A, B), (B, A), (A, B)]
    assert len({core.event_id("id", move) for move in moves}) == 4


def test_a_deleted_ref_is_a_move_to_nothing_and_its_next_life_starts_from_nothing() -> None:
    """Git deletes a ref's log with it: the deletion, and a new ref of the name, still come out."""
    assert pairs_of(core.Known(B, 200, 2), ZERO, None, []) == [(B, ZERO)]
    assert pairs_of(core.Known(ZERO, 0, 3), C, ZERO, log((ZERO, C))) == [(ZERO, C)]
    assert pairs_of(core.Known(B, 200, 2), C, None, log((ZERO, C))) == [(B, ZERO), (ZERO, C)]


def test_a_lost_log_still_gives_the_difference() -> None:
    """After a power cut the ref may be moved and its line missing: one move covers the gap."""
    assert pairs_of(core.Known(A, 100, 1), D, A, []) == [(A, D)]
    assert pairs_of(core.Known(A, 100, 1), D, A, log((C, D), start=100)) == [(A, C), (C, D)]
    assert pairs_of(core.Known(B, 100, 1), D, None, log((A, B), (B, D))) == [(B, D)]


def test_a_torn_last_line_is_not_read() -> None:
    """Half a line is a write under way."""
    whole = f"{ZERO} {A} operator:bootstrap <sixfold@localhost> 1415811600 +0000\tpush\n".encode()
    (line,) = core.parse_log(whole + whole[:50], 10)
    assert line == core.Line(ZERO, A, "operator:bootstrap", 1415811600000, 10 + len(whole))


@given(st.lists(st.sampled_from([ZERO, A, B, C, D]), min_size=1, max_size=12), st.data())
def test_whenever_it_is_published_every_move_comes_once_in_order(values: list[str], data: st.DataObject) -> None:
    """However publishing falls between the moves of a ref that is not deleted in between, each comes exactly once."""
    history = [(ZERO, next((value for value in values if value != ZERO), A))]
    for value in values:
        if value not in (ZERO, history[-1][1]):
            history.append((history[-1][1], value))
    lines = log(*history)
    published: list[tuple[str, str]] = []
    known, position = core.Known(), 0
    while position < len(lines):
        position = data.draw(st.integers(position + 1, len(lines)))
        at = known.log_bytes // LINE_BYTES
        moves, known = core.moves(REF, known, lines[position - 1].new, known.commit, lines[at:position], 7)
        published += [(move.old, move.new) for move in moves]
    assert published == history


def test_names_that_could_lead_elsewhere_are_refused() -> None:
    """A repository's name is letters, digits, '.', '_' and '-', and never a path, an option or a second name."""
    for name in ("web", "a.b_c-d", "x" * 100, "0"):
        assert core.name_problem(name) == ""
    for name in ("", ".", "..", "../x", "a/b", "-x", ".x", "x.git", "x.GIT", "x.lock", "x" * 101, "ä", "a b", "a\n"):
        assert core.name_problem(name), name
