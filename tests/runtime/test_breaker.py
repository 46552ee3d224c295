"""The circuit breaker: each row of its table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sixfold import TemporaryError
from sixfold.breaker import Breaker, Circuit, State

DOWN = TemporaryError("the bank does not answer")
BREAKER = Breaker(failures=3, pause_s=10, pause_max_s=35)


def opened() -> Circuit:
    """A circuit that opened at 0."""
    circuit = Circuit(BREAKER)
    assert [circuit.ended(DOWN, 0) for _ in range(3)] == [False, False, True]
    return circuit


def test_failures_in_a_row_open_it_and_no_call_begins_until_the_pause_is_over() -> None:
    """The third failure opens it for ten seconds."""
    circuit = opened()
    assert circuit.state is State.OPEN
    assert [circuit.may_call(now) for now in (0, 5, 9.9)] == [False] * 3
    assert circuit.may_call(10)


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Only failures in a row count."""
    circuit = Circuit(BREAKER)
    for _ in range(10):
        assert not circuit.ended(DOWN, 0)
        assert not circuit.ended(DOWN, 0)
        assert not circuit.ended(None, 0)
    assert circuit.may_call(0)


def test_one_trial_is_let_through_and_its_success_closes_it() -> None:
    """Half open means one call, not a stampede."""
    circuit = opened()
    assert [circuit.may_call(10) for _ in range(5)] == [True, False, False, False, False]
    assert circuit.ended(None, 11)
    assert circuit.state is State.CLOSED
    assert all(circuit.may_call(11) for _ in range(5))


def test_each_trial_that_fails_doubles_the_pause_up_to_its_limit_and_a_success_resets_it() -> None:
    """10, 20, 35, 35 seconds; after a success 10 again."""
    circuit, now = opened(), 0.0
    for pause in (10, 20, 35, 35):
        assert circuit.until_s == now + pause
        now = circuit.until_s
        assert circuit.may_call(now)
        assert circuit.ended(DOWN, now)
    circuit.may_call(circuit.until_s)
    circuit.ended(None, 500)
    for _ in range(3):
        circuit.ended(DOWN, 500)
    assert circuit.until_s == 510


def test_an_error_that_tells_nothing_of_a_dependency_changes_nothing() -> None:
    """A bad record neither opens it nor passes for a trial."""
    circuit = Circuit(BREAKER)
    assert not any(circuit.ended(ValueError("bad record"), 0) for _ in range(10))
    circuit = opened()
    assert circuit.may_call(10)
    circuit.ended(ValueError("bad record"), 10)
    assert circuit.state is State.HALF_OPEN
    assert circuit.may_call(10)


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    """Their failures are those it opened for; a success of one closes it."""
    circuit = opened()
    assert not circuit.ended(DOWN, 9)
    assert circuit.until_s == 10
    assert circuit.ended(None, 9)
    assert circuit.state is State.CLOSED


@given(ends=st.lists(st.tuples(st.sampled_from([None, DOWN, ValueError()]), st.floats(0, 50)), max_size=60))
def test_it_never_stays_shut_for_ever(ends: list[tuple[BaseException | None, float]]) -> None:
    """Whatever happened, after the longest pause a call is let through once those under way have ended."""
    circuit, now = Circuit(BREAKER), 0.0
    for error, wait in ends:
        now += wait
        if circuit.may_call(now):
            circuit.ended(error, now)
    assert circuit.may_call(now + BREAKER.pause_max_s)
