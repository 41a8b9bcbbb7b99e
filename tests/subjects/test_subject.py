"""What a status update makes of a subject: version, times, result, error and the next poll."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.subjects.domain.lifecycle import RANK, Signal, State, decide
from service.subjects.domain.subject import StatusUpdate, apply_update
from tests.support.subjects import NOW, make_subject


def test_a_terminal_state_has_its_time_and_its_result_and_no_poll() -> None:
    before = make_subject(state=State.PROCESSING, version=3, next_poll_at=NOW)
    update = StatusUpdate(Signal.SUCCEEDED, result={"element_id": "1"})
    after = apply_update(before, State.SUCCEEDED, update, NOW)
    assert (after.version, after.finished_at, after.next_poll_at) == (4, NOW, None)
    assert after.result == {"element_id": "1"}
    assert after.error is None


def test_a_move_within_a_rank_leaves_the_version() -> None:
    claimed = make_subject(state=State.SUBMITTING, lease_token="lse", lease_until=NOW)
    lost = apply_update(claimed, State.UNCONFIRMED, StatusUpdate(Signal.LOST), NOW)
    assert (lost.version, lost.lease_token, lost.next_poll_at) == (claimed.version, None, NOW)
    later = NOW + timedelta(seconds=5)
    queued = apply_update(claimed, State.QUEUED, StatusUpdate(Signal.DEFERRED, retry_at=later), NOW)
    assert (queued.available_at, queued.next_poll_at) == (later, None)


def test_updated_at_does_not_go_back_when_a_clock_is_behind() -> None:
    before = make_subject(state=State.SUBMITTED, version=2)
    after = apply_update(
        before, State.PROCESSING, StatusUpdate(Signal.PROCESSING), NOW - timedelta(seconds=9)
    )
    assert after.updated_at == before.updated_at


def test_provider_updated_at_is_the_latest_that_was_reported() -> None:
    late, early = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    before = replace(make_subject(state=State.SUBMITTED, version=2), provider_updated_at=late)
    after = apply_update(
        before, State.PROCESSING, StatusUpdate(Signal.PROCESSING, provider_updated_at=early), NOW
    )
    assert after.provider_updated_at == late


@given(st.lists(st.sampled_from(Signal), max_size=20))
def test_versions_have_no_gap_and_terminal_states_their_fields_whatever_happens(
    signals: list[Signal],
) -> None:
    subject = make_subject()
    for signal in signals:
        decision = decide(subject.state, signal)
        if isinstance(decision, State):
            update = StatusUpdate(signal, result={"element_id": "1"}, error={"code": "x"})
            after = apply_update(subject, decision, update, NOW)
            assert after.version - subject.version == (RANK[decision] > RANK[subject.state])
            subject = after
    ended = RANK[subject.state] == RANK[State.FAILED]
    assert (subject.finished_at is not None) == ended
    assert (subject.result is not None) == (subject.state is State.SUCCEEDED)
    assert (subject.error is not None) == (subject.state is State.FAILED)
