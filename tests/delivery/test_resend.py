"""One delivery sent anew."""

from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.replays import (
    ONE_RETRY,
    deliver_all,
    delivery_rows,
    received_events,
    resend,
    subject_with_two_events,
)
from tests.support.webhook_receiver import WebhookReceiver


async def test_an_ended_delivery_is_resent(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    await subject_with_two_events(api)
    subscriber.answers += [500, 500]
    await deliver_all(api, clock)
    dead, delivered = await delivery_rows(api, subscription)
    assert (dead["state"], delivered["state"]) == ("dead", "delivered")
    for delivery in (dead, delivered):
        answer = await resend(api, delivery["id"])
        assert answer.status_code == 202
        shown = answer.json()
        assert (shown["id"], shown["state"]) == (delivery["id"], "pending")
        assert len(shown["attempts"]) == delivery["attempts"]
    assert [delivery["due_at"] for delivery in await delivery_rows(api, subscription)] == [
        clock.now,
        None,
    ]
    assert [delivery["replayed_at"] for delivery in await delivery_rows(api, subscription)] == [
        clock.now
    ] * 2
    subscriber.requests.clear()
    await deliver_all(api, clock)
    assert [at for _, at in received_events(subscriber)] == [1, 2]
    assert await api.violations() == []


async def test_a_retry_is_due_now_and_a_delivery_behind_another_stays_there(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    await subject_with_two_events(api)
    subscriber.answers.append(500)
    await api.work(Work.DELIVER)
    first, second = await delivery_rows(api, subscription)
    assert first["due_at"] > clock.now
    for delivery in (second, first):
        assert (await resend(api, delivery["id"])).json()["state"] == "pending"
    deliveries = await delivery_rows(api, subscription)
    assert [delivery["due_at"] for delivery in deliveries] == [clock.now, None]
    assert [delivery["replayed_at"] for delivery in deliveries] == [None, None]
    await deliver_all(api, clock)
    assert [at for _, at in received_events(subscriber)] == [1, 1, 2]
    assert await api.violations() == []


async def test_nothing_is_resent_to_a_disabled_subscriber(api: Api, clock: Clock) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999")
    await subject_with_two_events(api)
    await fetch(api.resources, "UPDATE subscribers SET state = 'disabled'")
    (first, _) = await delivery_rows(api, subscription)
    refused = await resend(api, first["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "subscriber_disabled")
    clock.advance(1)
    assert (await delivery_rows(api, subscription))[0] == first
