"""What becomes of a delivery: delivered, retried, dead with its reason, or canceled."""

import asyncio
from dataclasses import replace

from sqlalchemy import delete
from starlette.responses import Response
from structlog.typing import EventDict

from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.steps.deliver import Deliverer
from service.schema.subscribers import subscribers
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.subscribers.steps import manage
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.deliveries import (
    CLOSED_PORT,
    create_subjects,
    deliveries_of,
    scripted_subscriber,
)
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

SCHEDULE = (5.0, 300.0)
LEASE = 30.0  # seconds; the default
DAY = 86_400.0  # seconds


def scheduled(api: Api) -> Api:
    """The API with the delivery schedule SCHEDULE."""
    resources = api.resources
    settings = replace(resources.settings, delivery_schedule=SCHEDULE)
    cache = SendSettingsCache(settings, resources.encryptor)
    return replace(api, resources=replace(resources, settings=settings, send_settings=cache))


async def submitted(api: Api, subject_id: str) -> None:
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id=subject_id)
    await transition(api.resources, subject_id, update)


async def test_a_delivery_is_retried_by_its_schedule_and_then_dead_with_its_reasons(
    api: Api, clock: Clock
) -> None:
    api = scheduled(api)
    async with scripted_subscriber(500) as refusing:
        subscription = await api.subscribe(refusing.url)
        subject = await api.create()
        await submitted(api, subject["id"])
        for wait in (0.0, *SCHEDULE):
            clock.advance(wait - 0.1)
            await api.work(Work.DELIVER)
            clock.advance(0.1)
            await api.work(Work.DELIVER)
        first, second = await deliveries_of(api, subscription)
        assert first["state"] == "dead"
        assert [attempt["error"] for attempt in first["attempts"]] == ["status 500"] * 3
        assert first["next_attempt_at"] is None
        assert second["next_attempt_at"] is not None, "after a dead one the next goes on"
        assert len(set(refusing.event_ids[:3])) == 1, "each attempt bears the same id"
    assert await api.violations() == []


async def test_a_retry_after_puts_the_next_attempt_off(api: Api, clock: Clock) -> None:
    api = scheduled(api)
    async with scripted_subscriber(429, **{"retry-after": "100"}) as busy:
        await api.subscribe(busy.url)
        await api.create()
        await api.work(Work.DELIVER)
        clock.advance(99)
        await api.work(Work.DELIVER)
        assert len(busy.event_ids) == 1
        clock.advance(1)
        await api.work(Work.DELIVER)
        assert len(busy.event_ids) == 2


async def test_a_retry_after_beside_another_status_is_ignored(api: Api, clock: Clock) -> None:
    api = scheduled(api)
    async with scripted_subscriber(500, **{"retry-after": "100"}) as broken:
        await api.subscribe(broken.url)
        await api.create()
        await api.work(Work.DELIVER)
        clock.advance(5)
        await api.work(Work.DELIVER)
        assert len(broken.event_ids) == 2


async def test_a_time_out_is_recorded_as_an_attempt(api: Api) -> None:
    subscription = await api.subscribe("http://127.0.0.1:65009/nobody")
    await api.create()
    await api.work(Work.DELIVER)
    (delivery,) = await deliveries_of(api, subscription)
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["error"].partition(":")[0]) == (None, "connect")
    assert (delivery["state"], attempt["latency_ms"] >= 0) == ("pending", True)


async def test_gone_disables_the_subscriber_and_cancels_what_waits(
    api: Api, subscriber: WebhookReceiver
) -> None:
    async with scripted_subscriber(410) as gone:
        subscription, other = await api.subscribe(gone.url), await api.subscribe(subscriber.url)
        subject = await api.create()
        await submitted(api, subject["id"])
        await api.work(Work.DELIVER)
        shown = (await api.http.get(f"/v1/subscribers/{subscription['id']}")).json()
        assert (shown["state"], shown["disabled_reason"]) == ("disabled", "it answered 410 Gone")
        assert [delivery["state"] for delivery in await deliveries_of(api, subscription)] == [
            "dead",
            "canceled",
        ]
        await api.create()
        await api.work(Work.DELIVER)
        assert len(gone.event_ids) == 1
    assert {delivery["state"] for delivery in await deliveries_of(api, other)} == {"delivered"}
    assert await api.violations() == []


async def test_the_log_names_the_subject_of_an_event_that_has_one(
    api: Api, subscriber: WebhookReceiver, logged: list[EventDict]
) -> None:
    await api.subscribe(subscriber.url)
    async with scripted_subscriber(410) as gone:
        await api.subscribe(gone.url)
        subject = await api.create()
        await api.work(Work.DELIVER)
    await api.work(Work.DELIVER)
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert {(line["type"], line["subject"]) for line in attempts} == {
        ("subject.queued", subject["id"]),
        ("callsheet.subscriber.disabled", None),
    }


async def test_many_410_answers_at_once_do_not_deadlock(api: Api, logged: list[EventDict]) -> None:
    async with scripted_subscriber(410) as gone:
        subscription = await api.subscribe(gone.url)
        for _ in range(12):
            await api.create()
        await api.work(Work.DELIVER)
        states = {delivery["state"] for delivery in await deliveries_of(api, subscription)}
    assert states <= {"dead", "canceled"}
    assert [line for line in logged if line.get("action") == "result_not_recorded"] == []


async def test_a_result_that_comes_after_the_lease_is_fenced_off(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    ours, theirs = Deliverer(api.resources), Deliverer(api.resources)
    async with scripted_subscriber(500) as slow:
        subscription = await api.subscribe(slow.url)
        await api.create()
        (stale,) = await ours.claim(10)
        slow.gate = gate = asyncio.Event()
        late = asyncio.create_task(ours.deliver(stale))
        await wait_until(lambda: len(slow.event_ids) == 1)
        clock.advance(LEASE)
        slow.response = Response
        (fresh,) = await theirs.claim(10)
        await theirs.deliver(fresh)
        gate.set()
        await late
        assert len(slow.event_ids) == 2, "at least once"
    (delivery,) = await deliveries_of(api, subscription)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 1)
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert [(line["status"], line["fenced"]) for line in attempts] == [(200, False), (500, True)]


async def test_a_worker_that_was_stopped_after_its_claim_does_not_send(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    deliverer = Deliverer(api.resources)
    await api.subscribe(subscriber.url)
    await api.create()
    (stale,) = await deliverer.claim(10)
    clock.advance(LEASE)
    await deliverer.deliver(stale)
    assert subscriber.requests == []
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1


async def test_a_subscriber_removed_while_it_is_written_to_harms_nobody(
    api: Api, subscriber: WebhookReceiver
) -> None:
    deliverer = Deliverer(api.resources)
    subscription = await api.subscribe(subscriber.url)
    await api.create()
    (claimed,) = await deliverer.claim(10)
    account = (await fetch(api.resources, "SELECT account_id FROM subscribers"))[0]["account_id"]
    await manage.delete(api.resources, account, subscription["id"])
    await deliverer.deliver(claimed)
    assert await fetch(api.resources, "SELECT * FROM deliveries") == []
    assert await fetch(api.resources, "SELECT * FROM attempts") == []


async def test_a_subscriber_removed_while_an_event_is_written_harms_nobody(api: Api) -> None:
    subscription = await api.subscribe("http://127.0.0.1:65009")
    resources = api.resources
    async with resources.database.transaction() as tx:
        await tx.execute(delete(subscribers).where(subscribers.c.id == subscription["id"]))
        creating = asyncio.create_task(api.create())
        await wait_until_blocked(resources)
    assert (await creating)["state"] == "queued"
    assert await fetch(resources, "SELECT * FROM deliveries") == []


async def test_without_an_order_the_events_of_a_subject_do_not_wait_for_each_other(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as failing:
        await api.subscribe(failing.url, order="none")
        (subject_id,) = await create_subjects(api, 1)
        await api.http.post(f"/v1/subjects/{subject_id}/cancel")
        await api.work(Work.DELIVER)
        assert len(failing.event_ids) == 2
    assert await api.violations() == []
    clock.advance(DAY)


async def test_subscribers_are_sent_only_what_their_filters_match(api: Api) -> None:
    async with (
        webhook_receiver() as first,
        webhook_receiver() as other,
        webhook_receiver() as third,
    ):
        await api.subscribe(first.url, reference_types=["video_refer"])
        await api.subscribe(other.url, tags=["o_102", "o_108"])
        await api.subscribe(third.url, tags=["o_101"], reference_types=["image_refer"])
        await api.create(tag_list=[{"tag_id": "o_108"}, {"tag_id": "o_103"}])
        await api.create(tag_list=[{"tag_id": "o_101"}])
        await api.create(tag_list=[])
        await api.work(Work.DELIVER)
        assert [len(receiver.requests) for receiver in (first, other, third)] == [0, 1, 1]
    assert await api.violations() == []


async def test_subjects_are_accepted_while_subscribers_are_deleted(api: Api) -> None:
    async def come_and_go() -> None:
        for _ in range(8):
            subscription = await api.subscribe(CLOSED_PORT)
            answer = await api.http.delete(f"/v1/subscribers/{subscription['id']}")
            assert answer.status_code == 204

    async def many(stem: int) -> None:
        for number in range(10):
            await api.create(name=f"{stem} {number}")

    await asyncio.gather(come_and_go(), come_and_go(), *(many(stem) for stem in range(3)))
    assert await api.violations() == []
