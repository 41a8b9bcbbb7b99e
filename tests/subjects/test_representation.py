"""Subjects as values: ids, moves, events, tokens."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.domain.url_tokens import callback_token, subject_of
from service.kit import ids
from service.subjects.domain import event as subjects_event
from service.subjects.domain.event import feed_entry, subject_event
from service.subjects.domain.lifecycle import RANK, Signal, State, decide
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import StatusUpdate, apply_update
from tests.support.subjects import NOW, make_subject

KEY = b"k" * 32


def test_ids_sort_by_the_time_of_their_making() -> None:
    later = NOW + timedelta(milliseconds=1)
    assert ids.new_id("sub", NOW, b"\xff" * 10) < ids.new_id("sub", later, b"\0" * 10)
    assert len(ids.new_id("sub", NOW, b"\0" * 10)) == len("sub_") + ids.ID_LENGTH


def test_an_event_id_has_no_dot_and_is_the_same_each_time() -> None:
    first = subjects_event.event_id("sub_0123", 3)
    assert first == subjects_event.event_id("sub_0123", 3) == "evt_0123_3"


def test_an_end_has_its_time_and_its_result_and_nothing_is_polled_after_it() -> None:
    before = make_subject(state=State.PROCESSING, version=3, next_poll_at=NOW)
    news = StatusUpdate(Signal.SUCCEEDED, result={"element_id": "1"})
    after = apply_update(before, State.SUCCEEDED, news, NOW)
    assert (after.version, after.finished_at, after.next_poll_at) == (4, NOW, None)
    assert after.result == {"element_id": "1"}
    assert after.error is None


def test_a_move_within_a_rank_makes_no_version() -> None:
    claimed = make_subject(state=State.SUBMITTING, lease_token="lse", lease_until=NOW)
    lost = apply_update(claimed, State.UNCONFIRMED, StatusUpdate(Signal.LOST), NOW)
    assert (lost.version, lost.lease_token, lost.next_poll_at) == (claimed.version, None, NOW)
    later = NOW + timedelta(seconds=5)
    queued = apply_update(claimed, State.QUEUED, StatusUpdate(Signal.DEFERRED, retry_at=later), NOW)
    assert (queued.available_at, queued.next_poll_at) == (later, None)


def test_time_does_not_run_backwards_when_a_clock_is_behind() -> None:
    before = make_subject(state=State.SUBMITTED, version=2)
    after = apply_update(
        before, State.PROCESSING, StatusUpdate(Signal.PROCESSING), NOW - timedelta(seconds=9)
    )
    assert after.updated_at == before.updated_at


def test_the_providers_time_is_the_latest_heard_of() -> None:
    late, early = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    before = replace(make_subject(state=State.SUBMITTED, version=2), provider_updated_at=late)
    after = apply_update(
        before, State.PROCESSING, StatusUpdate(Signal.PROCESSING, provider_updated_at=early), NOW
    )
    assert after.provider_updated_at == late


@given(st.lists(st.sampled_from(Signal), max_size=20))
def test_whatever_happens_versions_have_no_gap_and_ends_are_marked(signals: list[Signal]) -> None:
    subject = make_subject()
    for signal in signals:
        decision = decide(subject.state, signal)
        if isinstance(decision, State):
            news = StatusUpdate(signal, result={"element_id": "1"}, error={"code": "x"})
            after = apply_update(subject, decision, news, NOW)
            assert after.version - subject.version == (RANK[decision] > RANK[subject.state])
            subject = after
    ended = RANK[subject.state] == RANK[State.FAILED]
    assert (subject.finished_at is not None) == ended
    assert (subject.result is not None) == (subject.state is State.SUCCEEDED)
    assert (subject.error is not None) == (subject.state is State.FAILED)


def test_an_event_is_the_subject_with_its_sequence() -> None:
    subject = make_subject()
    event = subject_event(subject)
    body = json.loads(event.body)
    assert body["type"] == "subject.queued"
    assert body["data"] == public_subject(subject) | {"sequence": 1}
    assert list(body) == ["type", "timestamp", "data"]
    assert json.loads(feed_entry(event.id, event.body)) == {"id": event.id} | body


def test_a_token_names_its_subject_and_no_other() -> None:
    token = callback_token(KEY, "sub_1")
    assert subject_of(KEY, token) == "sub_1"
    assert subject_of(KEY, token.replace("sub_1", "sub_2")) is None
    assert subject_of(b"x" * 32, token) is None


@pytest.mark.parametrize("token", ["", ".", "sub_1", "sub_1.", ".mac", "\ud800.\ud800", "é.é"])
def test_what_is_no_token_names_nothing(token: str) -> None:
    assert subject_of(KEY, token) is None


@given(st.text())
def test_no_text_passes_for_a_token(token: str) -> None:
    assert subject_of(KEY, token) is None
