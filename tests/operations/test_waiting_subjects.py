"""Every subject that is not finished is counted where it waits, since it began to wait there."""

from datetime import timedelta

import pytest

from service.operations.domain.stages import Stage
from service.operations.store import waiting
from service.reconciliation.steps import poll
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.media_host import media_host
from tests.support.subjects import subject_in_state
from tests.support.waiting_stages import found_waiting

ENDS_SOONER = "UPDATE subjects SET deadline = deadline - interval '1 hour' WHERE id = $1"
HOLD = """
    INSERT INTO holds (id, what, reason, created_at) VALUES ('hld_1', 'submissions', 'test', now())
"""


async def test_nothing_waits_where_there_is_nothing(api: Api) -> None:
    assert await found_waiting(api) == {}


async def test_what_is_tried_again_is_queued_since_it_was_accepted(api: Api, clock: Clock) -> None:
    subject_id = (await api.create())["id"]
    clock.advance(10)
    await submit.claim(api.resources, 1)
    retry_at = clock() + timedelta(seconds=5)
    await transition(api.resources, subject_id, StatusUpdate(Signal.DEFERRED, retry_at=retry_at))
    clock.advance(10)
    assert await found_waiting(api) == {Stage.QUEUED: (1, 20)}


async def test_what_is_held_is_queued(api: Api, clock: Clock) -> None:
    await api.create()
    await fetch(api.resources, HOLD)
    clock.advance(10)
    assert await submit.claim(api.resources, 1) == []
    assert await found_waiting(api) == {Stage.QUEUED: (1, 10)}


async def test_media_are_checked_before_it_is_queued(api: Api, clock: Clock) -> None:
    async with media_host() as media:
        await api.create(**media.images("front", "side"))
        clock.advance(10)
        assert await found_waiting(api) == {Stage.MEDIA_CHECK: (1, 10)}
        await api.work(Work.CHECK_MEDIA)
    clock.advance(10)
    assert await found_waiting(api) == {Stage.QUEUED: (1, 20)}


async def test_it_is_being_submitted_since_it_was_claimed(api: Api, clock: Clock) -> None:
    await api.create()
    clock.advance(10)
    await submit.claim(api.resources, 1)
    clock.advance(3)
    assert await found_waiting(api) == {Stage.SUBMITTING: (1, 3)}


async def test_it_is_unconfirmed_since_the_answer_was_lost(api: Api, clock: Clock) -> None:
    subject_id = await subject_in_state(api, State.SUBMITTING)
    clock.advance(5)
    await transition(api.resources, subject_id, StatusUpdate(Signal.LOST))
    clock.advance(0.5)
    found = await found_waiting(api)
    assert found[Stage.UNCONFIRMED] == (1, 0.5)


@pytest.mark.parametrize("state", [State.SUBMITTED, State.PROCESSING])
async def test_it_is_with_the_provider_since_it_was_claimed(
    api: Api, clock: Clock, state: State
) -> None:
    subject_id = await subject_in_state(api, State.SUBMITTING)
    clock.advance(10)
    update = StatusUpdate(Signal(state), provider_task_id="1")
    await transition(api.resources, subject_id, update)
    clock.advance(1)
    found = await found_waiting(api)
    assert found[Stage.WITH_PROVIDER] == (1, 11)
    assert set(found) <= {Stage.WITH_PROVIDER, Stage.POLL_DUE}


async def test_what_the_provider_took_without_a_claim_is_with_it_since_it_said_so(
    api: Api, clock: Clock
) -> None:
    subject_id = (await api.create())["id"]
    clock.advance(10)
    update = StatusUpdate(Signal.PROCESSING, provider_task_id="1")
    await transition(api.resources, subject_id, update)
    clock.advance(1)
    assert await found_waiting(api) == {Stage.WITH_PROVIDER: (1, 1)}


async def test_a_poll_is_due_until_somebody_makes_it(api: Api, clock: Clock) -> None:
    subject_id = await subject_in_state(api, State.SUBMITTED)
    next_poll = "SELECT next_poll_at FROM subjects WHERE id = $1"
    ((at,),) = [row.values() for row in await fetch(api.resources, next_poll, subject_id)]
    clock.now = at + timedelta(seconds=2)
    assert (await found_waiting(api))[Stage.POLL_DUE] == (1, 2)
    await poll.claim(api.resources, 1)
    assert Stage.POLL_DUE not in await found_waiting(api)


async def test_what_has_ended_waits_nowhere(api: Api) -> None:
    for state in (State.SUCCEEDED, State.FAILED, State.CANCELED):
        await subject_in_state(api, state)
    assert await found_waiting(api) == {}


async def test_the_oldest_is_found_whatever_comes_first(api: Api, clock: Clock) -> None:
    """The one with the earliest deadline need not be the oldest."""
    await api.create()
    clock.advance(10)
    sooner = await api.create()
    await fetch(api.resources, ENDS_SOONER, sooner["id"])
    assert await found_waiting(api) == {Stage.QUEUED: (2, 10)}


async def test_no_more_are_counted_than_so_many(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_COUNTED", 3)
    for _ in range(5):
        await api.create()
        clock.advance(1)
    assert await found_waiting(api) == {Stage.QUEUED: (3, 5)}
