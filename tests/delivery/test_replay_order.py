"""What is sent anew goes out in its order, whatever else goes on."""

import asyncio

import asyncpg
import pytest

from service.delivery.domain.replay_kind import STATES, ReplayKind
from service.delivery.steps.deliver import Deliverer
from service.delivery.store import replay as replay_store
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import wait_until_blocked
from tests.support.operations import take_small_steps
from tests.support.replays import (
    ONE_RETRY,
    add_two_events,
    deliver_all,
    delivery_rows,
    received_events,
    replay_count,
    request_replay,
    resend,
    subject_with_two_events,
)
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver


async def test_deliveries_behind_a_replayed_one_wait_in_order(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    subject = await api.create()
    subscriber.answers += [500, 500]
    await deliver_all(api, clock)
    await add_two_events(api, subject["id"])
    subscriber.answers.append(500)
    await api.work(Work.DELIVER)
    before = await delivery_rows(api, subscription)
    assert [(delivery["state"], delivery["due_at"] is None) for delivery in before] == [
        ("dead", True),
        ("pending", False),
        ("pending", True),
    ]
    assert await replay_count(api, subscription, "failed") == 1
    after = await delivery_rows(api, subscription)
    assert [delivery["due_at"] for delivery in after] == [clock.now, None, None]
    subscriber.requests.clear()
    await deliver_all(api, clock)
    assert received_events(subscriber) == [(subject["id"], number) for number in (1, 2, 3)]
    assert await api.violations() == []


async def test_a_delivery_under_way_is_left_alone(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    subject = await api.create()
    subscriber.answers += [500, 500]
    await deliver_all(api, clock)
    await add_two_events(api, subject["id"])
    claimed = await Deliverer(api.resources).claim(10)
    assert [delivery.sequence for delivery in claimed] == [2]
    leased = (await delivery_rows(api, subscription))[1]
    assert await replay_count(api, subscription, "failed") == 1
    after = await delivery_rows(api, subscription)
    assert after[1] == leased | {"followers": leased["followers"] + 1}
    assert [delivery["due_at"] for delivery in after] == [clock.now, leased["due_at"], None]
    assert (await resend(api, leased["id"])).status_code == 202
    assert (await delivery_rows(api, subscription))[1] == after[1]


async def test_without_order_all_are_due_at_once(api: Api, clock: Clock) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe("http://127.0.0.1:9999", order="none")
    assert await replay_count(api, subscription, "missing") == 2
    assert [delivery["due_at"] for delivery in await delivery_rows(api, subscription)] == [
        clock.now,
        clock.now,
    ]


async def test_replaying_in_chunks_changes_neither_order_nor_count(
    api: Api, subscriber: WebhookReceiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 2)
    subjects = [await api.create() for _ in range(3)]
    for subject in subjects:
        await add_two_events(api, subject["id"])
    clock.advance(1)
    subscription = await api.subscribe(subscriber.url)
    assert await replay_count(api, subscription, "missing", dry_run=True) == 9
    assert await replay_count(api, subscription, "missing") == 9
    due = [
        delivery["sequence"]
        for delivery in await delivery_rows(api, subscription)
        if delivery["due_at"] is not None
    ]
    assert due == [1, 1, 1]
    await deliver_all(api, clock)
    for subject in subjects:
        assert [at for id_, at in received_events(subscriber) if id_ == subject["id"]] == [1, 2, 3]


async def test_concurrent_replays_send_each_event_once(
    api: Api, subscriber: WebhookReceiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 3)
    for _ in range(5):
        await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe(subscriber.url)
    counts = await asyncio.gather(*(replay_count(api, subscription, "missing") for _ in range(3)))
    assert sum(counts) == 10
    await deliver_all(api, clock)
    assert len(subscriber.requests) == len(set(received_events(subscriber))) == 10
    assert await api.violations() == []


async def test_replays_while_deliveries_end_leave_none_pending(
    api: Api, subscriber: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 2)
    subscription = await api.subscribe(subscriber.url)
    for _ in range(6):
        subject = await api.create()
        await add_two_events(api, subject["id"])
    await asyncio.gather(
        api.work(Work.DELIVER),
        *(replay_count(api, subscription, "all") for _ in range(3)),
        api.work(Work.DELIVER),
    )

    async def ended() -> bool:
        await api.work(Work.DELIVER)
        return {delivery["state"] for delivery in await delivery_rows(api, subscription)} == {
            "delivered"
        }

    await wait_until(ended)
    assert await api.violations() == []
    assert set(received_events(subscriber)) == {
        (delivery["ordering_key"], delivery["sequence"])
        for delivery in await delivery_rows(api, subscription)
    }


async def test_a_subscriber_removed_meanwhile_ends_the_replay(api: Api, clock: Clock) -> None:
    subject = await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe("http://127.0.0.1:9999")
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            held = "SELECT 1 FROM subjects WHERE id = $1 FOR KEY SHARE"
            await connection.execute(held, subject["id"])
            replaying = asyncio.create_task(request_replay(api, subscription, "missing"))
            await wait_until_blocked(api.resources)
            assert (
                await api.http.delete(f"/v1/subscribers/{subscription['id']}")
            ).status_code == 204
        assert (await replaying).status_code == 404
    finally:
        await connection.close()


async def test_an_event_that_waits_for_a_replay_is_sent_after_what_is_replayed(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    """The event is decided before the replay is committed, and written after it."""
    made = await api.subscribe(subscriber.url)
    subject = await api.create()
    await deliver_all(api, clock)
    (queued,) = await delivery_rows(api, made)
    async with api.resources.database.transaction() as tx:
        target = await replay_store.lock_target(tx, made["id"], [subject["id"]])
        assert target
        states = STATES[ReplayKind.ALL]
        await replay_store.requeue(tx, target, [queued["event_id"]], states=states, now=clock())
        update = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
        moving = asyncio.create_task(transition(api.resources, subject["id"], update))
        await wait_until_blocked(api.resources)
    assert await moving
    rows = await delivery_rows(api, made)
    assert [(row["sequence"], row["due_at"] is None) for row in rows] == [(1, False), (2, True)]
