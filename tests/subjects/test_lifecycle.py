"""The state machine: every pair is decided, terminal states stay, no move lowers the rank, and the
chart in service/README.md is drawn from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.local.chart import README, with_chart
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
    decisions = {decision for row in TABLE.values() for decision in row.values()}
    targets = {decision for decision in decisions if isinstance(decision, State)}
    assert targets == set(State)
    for state in set(State) - TERMINAL:
        assert TERMINAL & set(TABLE[state].values()), state


@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_no_sequence_of_signals_leaves_a_terminal_state_or_lowers_the_rank(
    signals: list[Signal],
) -> None:
    state = State.QUEUED
    for signal in signals:
        decision = decide(state, signal)
        if isinstance(decision, State):
            assert state not in TERMINAL
            assert RANK[decision] >= RANK[state]
            state = decision


@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_a_subject_makes_at_most_one_event_of_each_rank(signals: list[Signal]) -> None:
    state, ranks = State.QUEUED, []
    for signal in signals:
        decision = decide(state, signal)
        if isinstance(decision, State):
            if makes_event(state, decision):
                ranks.append(RANK[decision])
            state = decision
    assert ranks == sorted(set(ranks))


def test_a_subject_counts_towards_the_parallel_limit_from_the_claim_to_the_end() -> None:
    assert set(State) - {State.QUEUED} - TERMINAL == WITH_PROVIDER


def test_a_late_signal_does_not_undo_an_earlier_one() -> None:
    assert decide(State.SUBMITTED, Signal.LOST) is Ignored.LATE
    assert decide(State.PROCESSING, Signal.SUBMITTED) is Ignored.LATE
    assert decide(State.SUCCEEDED, Signal.FAILED) is Ignored.ANOMALY
    assert decide(State.FAILED, Signal.SUCCEEDED) is Ignored.ANOMALY
    assert decide(State.CANCELED, Signal.PROCESSING) is Ignored.ANOMALY


def test_the_readme_shows_the_table_as_it_is() -> None:
    text = README.read_text()
    assert with_chart(text) == text
