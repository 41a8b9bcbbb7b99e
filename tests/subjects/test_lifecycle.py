"""The table is total, absorbs at its ends, never goes back, and is what service/README.md shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.local.chart import README, placed
from service.subjects.domain.lifecycle import (
    RANK,
    TABLE,
    TERMINAL,
    WITH_PROVIDER,
    Ignored,
    Signal,
    State,
    decide,
    makes_event,
)


def test_every_state_and_signal_is_decided() -> None:
    assert set(TABLE) == set(State)
    for state in State:
        assert set(TABLE[state]) == set(Signal), state


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_terminal_state_has_no_way_out(state: State) -> None:
    assert all(isinstance(decision, Ignored) for decision in TABLE[state].values())


def test_every_state_can_be_reached_and_every_unfinished_one_can_end() -> None:
    targets = {one for row in TABLE.values() for one in row.values() if isinstance(one, State)}
    assert targets == set(State)
    for state in set(State) - TERMINAL:
        assert TERMINAL & set(TABLE[state].values()), state


@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_no_sequence_of_signals_leaves_an_end_or_lowers_the_rank(signals: list[Signal]) -> None:
    state = State.QUEUED
    for signal in signals:
        decision = decide(state, signal)
        if isinstance(decision, State):
            assert state not in TERMINAL
            assert RANK[decision] >= RANK[state]
            state = decision


@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_a_life_makes_at_most_one_event_of_each_rank(signals: list[Signal]) -> None:
    state, ranks = State.QUEUED, []
    for signal in signals:
        decision = decide(state, signal)
        if isinstance(decision, State):
            if makes_event(state, decision):
                ranks.append(RANK[decision])
            state = decision
    assert ranks == sorted(set(ranks))


def test_places_are_held_from_the_claim_to_the_end() -> None:
    assert set(State) - {State.QUEUED} - TERMINAL == WITH_PROVIDER


def test_what_an_answer_taught_is_not_undone_by_a_later_one() -> None:
    assert decide(State.SUBMITTED, Signal.LOST) is Ignored.LATE
    assert decide(State.PROCESSING, Signal.SUBMITTED) is Ignored.LATE
    assert decide(State.SUCCEEDED, Signal.FAILED) is Ignored.ANOMALY
    assert decide(State.FAILED, Signal.SUCCEEDED) is Ignored.ANOMALY
    assert decide(State.CANCELED, Signal.PROCESSING) is Ignored.ANOMALY


def test_the_readme_shows_the_table_as_it_is() -> None:
    text = README.read_text()
    assert placed(text) == text
