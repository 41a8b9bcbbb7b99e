"""Workers are notified of work by the transaction that makes it."""

from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work, decode_work, encode_work
from service.subjects.steps.transition import transition
from service.subjects.store import events, work
from service.subjects.store.events import NewEvent
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.media_host import media_host
from tests.support.subjects import make_subject
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.work import work_notifications


def test_a_payload_names_kinds_of_work_always_in_the_same_order() -> None:
    assert encode_work([Work.DELIVER, Work.SUBMIT, Work.SUBMIT]) == "submit,deliver"
    assert decode_work("submit,deliver") == [Work.SUBMIT, Work.DELIVER]
    assert encode_work([]) == ""
    assert decode_work("") == list(Work), "as it is said on connecting: it may be any"
    assert decode_work("nothing_known,deliver") == [Work.DELIVER]


async def test_workers_hear_of_work_when_it_is_committed_and_of_equal_work_once(
    resources: Resources,
) -> None:
    async with work_notifications(resources) as committed:
        async with resources.database.transaction() as tx:
            await work.notify(tx, Work.SUBMIT)
            await work.notify(tx, Work.SUBMIT)
            assert await committed() == [], "before the commit"
        assert await committed() == ["submit"]


async def test_nothing_is_heard_of_what_is_rolled_back(resources: Resources) -> None:
    async with work_notifications(resources) as committed:
        async with resources.database.transaction(commit=False) as tx:
            await work.notify(tx, Work.SUBMIT)
        assert await committed() == []


async def test_events_notify_of_their_due_deliveries_and_of_the_work_that_is_named(
    api: Api,
) -> None:
    resources = api.resources
    created = await api.create()
    (account,) = await fetch(resources, "SELECT account_id AS id FROM subjects")

    async def append(version: int, *kinds: Work) -> None:
        subject = make_subject(id=created["id"], account_id=account["id"], version=version)
        new = NewEvent(subject_event(subject))
        async with resources.database.transaction() as tx:
            await events.append(tx, [new], kinds)

    async with work_notifications(resources) as committed:
        await append(2)
        assert await committed() == [], "nobody wants it"
        await append(3, Work.SUBMIT)
        assert await committed() == ["submit"]
        await api.subscribe("http://127.0.0.1:65009")
        await append(4)
        await append(5, Work.SUBMIT)
        assert await committed() == ["deliver", "submit,deliver"], (
            "the second waits behind the first, which a claim may have found locked"
        )
        await fetch(resources, "DELETE FROM deliveries")
        await append(6, Work.SUBMIT)
        assert await committed() == ["submit,deliver"]


async def test_each_step_notifies_of_the_next(api: Api, subscriber: WebhookReceiver) -> None:
    async with media_host() as media, work_notifications(api.resources) as committed:
        await api.create(**media.images("front", "side"))
        assert await committed() == ["check_media"]
        await api.work(Work.CHECK_MEDIA)
        assert await committed() == ["submit"]
        await api.subscribe(subscriber.url)
        subject_id = (await api.create())["id"]
        assert await committed() == ["submit,deliver"]
        await submit.claim(api.resources, 2)
        await transition(api.resources, subject_id, StatusUpdate(Signal.LOST))
        assert await committed() == ["reconcile"]
        await transition(
            api.resources, subject_id, StatusUpdate(Signal.FAILED, error={"code": "x"})
        )
        assert await committed() == ["submit,deliver"], "its delivery waits behind the first"
