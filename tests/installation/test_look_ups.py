"""After a restore the provider is asked about everything before it is sent anything: what it was
sent in the lost minutes is not sent again, and what ended there ends here."""

import pytest

from service.installation.steps import look_ups
from service.installation.steps.look_ups import LookUpsDue, look_up_everything
from service.installation.store import installation
from service.installation.store import look_ups as store
from service.kit.database.connection import Connection
from service.media.steps.check_media import MediaChecker
from service.resources import Resources
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.media_host import media_host
from tests.support.simulator import SimulatorClient
from tests.support.subjects import subject_in_state
from tests.support.work import work_notifications


async def look_up(resources: Resources) -> LookUpsDue:
    """Let everything be looked up, of the database as it stands."""
    async with resources.database.autocommit() as tx:
        found = await installation.read(tx)
    return await look_up_everything(resources, found)


async def states(resources: Resources) -> dict[str, str]:
    return {row["id"]: row["state"] for row in await fetch(resources, "SELECT * FROM subjects")}


async def creates(provider: SimulatorClient, subject_id: str) -> list[str]:
    """What became of each create call for the subject."""
    return [create["outcome"] for create in (await provider.ledger(subject_id))["creates"]]


async def create_at_provider(provider: SimulatorClient, subject_id: str) -> None:
    """The provider has a task of this subject, as one that was submitted in the lost minutes."""
    answer = await provider.create(external_task_id=subject_id)
    assert answer.json()["code"] == 0, answer.text
    await provider.wait_until_finished(subject_id)


async def test_a_queued_subject_that_the_provider_has_is_not_sent_again_and_ends_as_it_did(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = (await api.create())["id"]
    await create_at_provider(provider, subject_id)
    due = await look_up(api.resources)
    assert due.may_have_been_sent == due.asked_about == 1
    await api.work()
    assert (await api.read(subject_id))["state"] == "succeeded"
    assert await creates(provider, subject_id) == ["accepted"]
    assert await api.event_types(subject_id) == ["queued", "succeeded"]


async def test_one_that_the_provider_does_not_have_is_sent_once_after_it_was_asked(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = (await api.create())["id"]
    await look_up(api.resources)
    await api.work()
    assert await states(api.resources) == {subject_id: State.UNCONFIRMED}, "it may still appear"
    clock.advance(api.resources.settings.not_found_grace + 1)
    await api.work(Work.RECONCILE)
    assert await states(api.resources) == {subject_id: State.QUEUED}
    clock.advance(3)
    await api.work(Work.SUBMIT)
    assert await creates(provider, subject_id) == ["accepted"]
    await api.wait_until_finished(subject_id)
    assert (await api.event_types(subject_id))[-1] == "succeeded"


async def test_one_whose_media_were_not_checked_is_asked_about_and_checked_again(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    async with media_host() as media:
        sent = (await api.create(**media.images("front", "side")))["id"]
        absent = (await api.create(**media.images("front", "side")))["id"]
        await create_at_provider(provider, sent)
        await look_up(api.resources)
        clock.advance(api.resources.settings.not_found_grace + 1)
        await api.work(Work.RECONCILE)
        assert await states(api.resources) == {sent: State.SUCCEEDED, absent: State.QUEUED}
        clock.advance(3)
        await api.work(Work.CHECK_MEDIA, Work.SUBMIT)
    assert await creates(provider, absent) == ["accepted"]


async def test_a_check_of_media_that_was_under_way_ends_nothing(api: Api) -> None:
    checker = MediaChecker(api.resources)
    async with media_host() as media:
        subject_id = (await api.create(**media.images("no", "such")))["id"]
        (claimed,) = await checker.claim(1)
        await look_up(api.resources)
        await checker.check(claimed)
    assert await states(api.resources) == {subject_id: State.UNCONFIRMED}


async def test_one_that_a_worker_was_sending_is_asked_about_whatever_its_lease(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True, "times": None})
    subject_id = (await api.create())["id"]
    (claimed,) = await submit.claim(api.resources, 1)
    await look_up(api.resources)
    assert await states(api.resources) == {subject_id: State.UNCONFIRMED}
    await submit.submit(api.resources, claimed)
    assert await states(api.resources) == {subject_id: State.UNCONFIRMED}, "its lease is gone"
    await provider.wait_until_finished(subject_id)
    await api.work()
    assert (await api.read(subject_id))["state"] == "succeeded"
    assert await creates(provider, subject_id) == ["accepted"]


async def test_what_the_provider_has_is_asked_about_at_once(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True, "times": None})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await provider.wait_until_finished(subject_id)
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["state"] == "submitted", "it is not due yet"
    due = await look_up(api.resources)
    assert (due.may_have_been_sent, due.asked_about) == (0, 1)
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["state"] == "succeeded"


async def test_one_past_its_deadline_that_the_provider_has_finished_has_succeeded(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = (await api.create())["id"]
    await create_at_provider(provider, subject_id)
    clock.advance(api.resources.settings.task_deadline + 3600)
    due = await look_up(api.resources)
    assert due.put_off == 1
    await api.work()
    assert (await api.read(subject_id))["state"] == "succeeded"


async def test_one_past_its_deadline_that_nobody_has_fails_after_it_was_asked_about(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = (await api.create())["id"]
    clock.advance(api.resources.settings.task_deadline + 3600)
    await look_up(api.resources)
    await api.work(Work.RECONCILE)
    assert (await provider.ledger(subject_id))["lookups"]
    clock.advance(look_ups.LEAST_TIME.total_seconds() + 1)
    await api.work(Work.RECONCILE)
    read = await api.read(subject_id)
    assert (read["state"], read["error"]["code"]) == ("failed", "deadline_exceeded")
    assert await creates(provider, subject_id) == []


async def test_it_is_done_in_batches_and_may_be_run_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ups, "BATCH", 2)
    made = [(await api.create())["id"] for _ in range(5)]
    async with work_notifications(api.resources) as committed:
        assert (await look_up(api.resources)).may_have_been_sent == 5
        assert "reconcile" in await committed()
    again = await look_up(api.resources)
    assert (again.may_have_been_sent, again.asked_about) == (0, 5)
    assert await states(api.resources) == dict.fromkeys(made, State.UNCONFIRMED)
    assert await api.violations() == []


async def test_none_is_left_out_where_a_callback_moves_one_of_a_batch_meanwhile(
    api: Api, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ups, "BATCH", 2)
    await provider.admin("faults", {"lose": True, "processing_after": 600})
    moved_on = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    queued = [(await api.create())["id"] for _ in range(3)]
    find, batches = store.not_asked_about, list[list[str]]()

    async def found_before(tx: Connection, limit: int) -> list[str]:
        found = await find(tx, limit)
        batches.append(found if batches else [moved_on, *found[:1]])
        return batches[-1]

    monkeypatch.setattr(store, "not_asked_about", found_before)
    assert (await look_up(api.resources)).may_have_been_sent == 3
    assert await states(api.resources) == {
        moved_on: State.SUBMITTED,
        **dict.fromkeys(queued, State.UNCONFIRMED),
    }


async def test_what_has_ended_stays_as_it_is(api: Api) -> None:
    ended = [await subject_in_state(api, state) for state in (State.SUCCEEDED, State.CANCELED)]
    before = await fetch(api.resources, "SELECT * FROM subjects ORDER BY id")
    due = await look_up(api.resources)
    assert (due.may_have_been_sent, due.asked_about, due.put_off) == (0, 0, 0)
    assert await fetch(api.resources, "SELECT * FROM subjects ORDER BY id") == before
    assert len(ended) == 2
