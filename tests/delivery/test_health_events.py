"""What follows when a subscriber fails, recovers or is gone: notices, and disabling."""

import asyncio
from collections import Counter

import orjson
from structlog.typing import EventDict

from service.delivery.steps import health_events
from service.delivery.store import record as record_store
from service.subjects.domain.event import event_id
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.deliveries import (
    CLOSED_PORT,
    create_subjects,
    deliver_repeatedly,
    deliveries_of,
    events_of_type,
    scripted_subscriber,
)
from tests.support.webhook_receiver import WebhookReceiver

DAY = 86_400.0  # seconds


async def test_an_account_is_notified_of_a_failing_subscriber_and_of_its_recovery(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.failing"])
    hears_all = await api.subscribe(subscriber.url, tags=["o_108"], reference_types=["video_refer"])
    async with scripted_subscriber(500) as failing:
        subscription = await api.subscribe(failing.url, schedule=[DAY / 2] * 9)
        await create_subjects(api, 1)
        await api.work(Work.DELIVER)
        clock.advance(DAY / 2 + 1)
        await api.work(Work.DELIVER)
        (event,) = await events_of_type(api, "callsheet.subscriber.failing")
        assert (event["data"]["subscriber_id"], event["data"]["sequence"]) == (
            subscription["id"],
            1,
        )
        failing.answer_with(200)
        clock.advance(DAY / 2 + 1)
        await api.work(Work.DELIVER)
        await api.work(Work.DELIVER)
    (recovered,) = await events_of_type(api, "callsheet.subscriber.recovered")
    assert recovered["data"]["sequence"] == 2
    types = Counter(orjson.loads(body)["type"] for _, body in subscriber.requests)
    assert types == {"callsheet.subscriber.failing": 2, "callsheet.subscriber.recovered": 1}
    assert len(await deliveries_of(api, hears_all)) == 2, "filters by subject do not concern these"
    assert {
        delivery["type"].partition(".")[0] for delivery in await deliveries_of(api, subscription)
    } == {"subject"}
    assert await api.violations() == []


async def test_days_of_nothing_but_failures_disable_a_subscriber(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    async with scripted_subscriber(500) as failing:
        subscription = await api.subscribe(failing.url, schedule=[DAY / 2] * 20)
        await create_subjects(api, 1)
        for _ in range(14):
            await api.work(Work.DELIVER)
            clock.advance(DAY / 2 * 1.01)
        shown = (await api.http.get(f"/v1/subscribers/{subscription['id']}")).json()
        assert shown["state"] == "disabled"
        assert shown["disabled_reason"].startswith("it has failed since ")
        assert {delivery["state"] for delivery in await deliveries_of(api, subscription)} == {
            "canceled"
        }
        await create_subjects(api, 1)
        sent = len(failing.event_ids)
        await api.work(Work.DELIVER)
        assert len(failing.event_ids) == sent
    assert len(await events_of_type(api, "callsheet.subscriber.disabled")) == 1
    assert [orjson.loads(body)["data"]["reason"] for _, body in subscriber.requests] == [
        shown["disabled_reason"]
    ]
    assert await api.violations() == []


async def test_one_success_in_days_of_failures_keeps_a_subscriber_active(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as failing:
        subscription = await api.subscribe(failing.url, schedule=[DAY / 2] * 20)
        await create_subjects(api, 1)
        for turn in range(12):
            if turn == 6:
                failing.answer_with(200)
                await create_subjects(api, 1)
            await api.work(Work.DELIVER)
            failing.answer_with(500)
            clock.advance(DAY / 2 * 1.01)
        shown = (await api.http.get(f"/v1/subscribers/{subscription['id']}")).json()
        assert shown["state"] == "active"


async def test_subscribers_that_are_gone_together_are_all_disabled_with_a_notice(
    api: Api, subscriber: WebhookReceiver, logged: list[EventDict]
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    async with scripted_subscriber(410) as gone:
        subscriptions = [await api.subscribe(f"{gone.url}?{number}") for number in range(12)]
        await create_subjects(api, 2)
        await deliver_repeatedly(api)
    for gone_subscriber in subscriptions:
        shown = (await api.http.get(f"/v1/subscribers/{gone_subscriber['id']}")).json()
        assert (shown["state"], shown["disabled_reason"]) == ("disabled", "it answered 410 Gone")
    notices = await events_of_type(api, "callsheet.subscriber.disabled")
    assert {event["data"]["subscriber_id"] for event in notices} == {
        subscriber["id"] for subscriber in subscriptions
    }
    assert len(notices) == len(subscriptions) == len(subscriber.requests)
    assert [line for line in logged if line.get("action") == "unavailable"] == []


async def test_the_sweep_writes_a_notice_that_a_dead_worker_left(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    subscription = await api.subscribe(CLOSED_PORT)
    await create_subjects(api, 1)
    died = """INSERT INTO subscriber_health (subscriber_id, status, status_since, reason)
        VALUES ($1, 'disabled', now(), 'it answered 410 Gone')"""
    await fetch(api.resources, died, subscription["id"])
    for _ in range(2):
        await health_events.sweep(api.resources)
    await api.work(Work.DELIVER)
    shown = (await api.http.get(f"/v1/subscribers/{subscription['id']}")).json()
    assert shown["state"] == "disabled"
    assert [delivery["state"] for delivery in await deliveries_of(api, subscription)] == [
        "canceled"
    ]
    assert (
        len(subscriber.requests)
        == len(await events_of_type(api, "callsheet.subscriber.disabled"))
        == 1
    )


# The id of the first event that is to tell of this subscriber is taken.
TAKE_EVENT_ID = """
    INSERT INTO events (id, account_id, about_subscriber_id, sequence, type, body, created_at)
    SELECT $2, account_id, id, 1, 'other', '{"type":"other"}', created_at
    FROM subscribers WHERE id = $1
"""


async def test_a_notice_that_cannot_be_written_keeps_no_other_from_being_written(
    api: Api, logged: list[EventDict]
) -> None:
    async with scripted_subscriber(410) as gone:
        subscriptions = [await api.subscribe(f"{gone.url}?{number}") for number in range(3)]
        await fetch(
            api.resources,
            TAKE_EVENT_ID,
            subscriptions[0]["id"],
            event_id(subscriptions[0]["id"], 1),
        )
        await create_subjects(api, 1)
        await api.work(Work.DELIVER)
    notices = await events_of_type(api, "callsheet.subscriber.disabled")
    assert {event["data"]["subscriber_id"] for event in notices} == {
        subscriber["id"] for subscriber in subscriptions[1:]
    }
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert [line["fenced"] for line in attempts] == [False] * 3
    assert [line.get("action") for line in logged].count("fault") == 1
    logged.clear()


async def test_a_notice_that_cannot_be_written_keeps_the_sweep_from_no_other(
    api: Api, logged: list[EventDict]
) -> None:
    subscriptions = sorted([(await api.subscribe(CLOSED_PORT))["id"] for _ in range(3)])
    await create_subjects(api, 1)
    for subscriber_id in subscriptions:
        died = (
            "INSERT INTO subscriber_health (subscriber_id, status, status_since, reason)"
            " VALUES ($1, $2, now(), 'gone')"
        )
        await fetch(api.resources, died, subscriber_id, "disabled")
    await fetch(api.resources, TAKE_EVENT_ID, subscriptions[0], event_id(subscriptions[0], 1))
    await health_events.sweep(api.resources)
    notices = await events_of_type(api, "callsheet.subscriber.disabled")
    assert [event["data"]["subscriber_id"] for event in notices] == subscriptions[1:]
    left = "SELECT subscriber_id FROM deliveries WHERE state = 'pending'"
    assert await fetch(api.resources, left) == []
    assert [line.get("action") for line in logged].count("fault") == 1
    logged.clear()


async def test_a_subscriber_made_active_again_while_its_deliveries_are_canceled_misses_nothing(
    api: Api, subscriber: WebhookReceiver
) -> None:
    subscription = await api.subscribe(subscriber.url)
    (subject_id,) = await create_subjects(api, 1)
    disabled = "UPDATE subscribers SET state = 'disabled' WHERE id = $1"
    await fetch(api.resources, disabled, subscription["id"])
    async with api.resources.database.transaction() as tx:
        assert (
            await record_store.cancel_waiting(
                tx, api.resources.home.fence, api.resources.clock(), 10
            )
            == 1
        )
        path = f"/v1/subscribers/{subscription['id']}"
        activating = asyncio.create_task(api.http.patch(path, json={"state": "active"}))
        await wait_until_blocked(api.resources)
    assert (await activating).status_code == 200
    await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1
    assert await api.violations() == []
