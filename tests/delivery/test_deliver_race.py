"""Whatever is made to wait behind a delivery while that one is recorded is not left behind.

A trigger of these tests' holds one side in the middle of its statement, until the gate opens.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from service.delivery.steps.deliver import Deliverer
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.subjects.store import events, subjects
from service.subjects.store.events import NewEvent
from service.subscribers.store import subscribers
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.replays import (
    add_two_events,
    deliver_all,
    delivery_rows,
    received_events,
    replay_count,
    resend,
)
from tests.support.webhook_receiver import WebhookReceiver

GATE = 4711  # an advisory lock


@asynccontextmanager
async def gate(resources: Resources, event: str) -> AsyncIterator[None]:
    """While the block runs, whoever does this to a row waits in the middle of it."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.fetchval("SELECT pg_advisory_lock($1)", GATE)
        await connection.execute(f"""
            CREATE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END';
            CREATE TRIGGER gate BEFORE {event} FOR EACH ROW EXECUTE FUNCTION wait_for_gate();
        """)
        yield
    finally:
        await connection.close()


async def moved(api: Api, subject_id: str, signal: Signal) -> None:
    await transition(api.resources, subject_id, StatusUpdate(signal, provider_task_id="1"))


async def delivered_in_order(api: Api, subscriber: WebhookReceiver, subject_id: str) -> int:
    """How many events were received, which are the first of the subject."""
    assert await api.violations() == []
    while await fetch(api.resources, "SELECT 1 FROM deliveries WHERE state = 'pending'"):
        await api.work(Work.DELIVER)
    events = received_events(subscriber)
    assert events == [(subject_id, number + 1) for number in range(len(events))]
    return len(events)


async def test_an_event_written_while_the_one_before_is_recorded(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject = await api.create()
    async with gate(api.resources, "INSERT ON attempts"):
        delivering = asyncio.create_task(api.work(Work.DELIVER))
        await wait_until_blocked(api.resources)
        moving = asyncio.create_task(moved(api, subject["id"], Signal.PROCESSING))
        await wait_until_blocked(api.resources, 2)
    await asyncio.gather(delivering, moving)
    assert await delivered_in_order(api, subscriber, subject["id"]) == 2


@pytest.mark.parametrize("earlier", [0, 1])
async def test_an_attempt_recorded_while_the_next_event_is_written(
    api: Api, subscriber: WebhookReceiver, earlier: int
) -> None:
    """Whether or not others wait there already."""
    await api.subscribe(subscriber.url)
    subject = await api.create()
    if earlier:
        await moved(api, subject["id"], Signal.SUBMITTED)
    deliverer = Deliverer(api.resources)
    (claimed,) = await deliverer.claim(10)
    assert claimed.followers == earlier
    async with gate(api.resources, "INSERT ON deliveries"):
        moving = asyncio.create_task(moved(api, subject["id"], Signal.PROCESSING))
        await wait_until_blocked(api.resources)
        delivering = asyncio.create_task(deliverer.deliver(claimed))
        await wait_until_blocked(api.resources, 2)
    await moving
    assert await delivering, "another is due"
    assert await delivered_in_order(api, subscriber, subject["id"]) == 2 + earlier


async def test_an_event_that_is_not_written_after_all_leaves_no_trace(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject = await api.create()
    deliverer = Deliverer(api.resources)
    (claimed,) = await deliverer.claim(10)
    async with gate(api.resources, "INSERT ON deliveries"):
        moving = asyncio.create_task(moved(api, subject["id"], Signal.PROCESSING))
        await wait_until_blocked(api.resources)
        delivering = asyncio.create_task(deliverer.deliver(claimed))
        await wait_until_blocked(api.resources, 2)
        await fetch(
            api.resources,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'",
        )
        assert not await delivering
        await asyncio.gather(moving, return_exceptions=True)
    assert await delivered_in_order(api, subscriber, subject["id"]) >= 1


async def test_events_written_together_are_sent_one_after_the_other(
    api: Api, subscriber: WebhookReceiver
) -> None:
    stored = await api.create()
    await api.subscribe(subscriber.url)
    async with api.resources.database.autocommit() as tx:
        subject = await subjects.get(tx, stored["id"])
    assert subject
    versions = [replace(subject, state=State.SUBMITTED, version=number) for number in (2, 3)]
    new = [NewEvent(subject_event(version)) for version in versions]
    async with api.resources.database.transaction() as tx:
        await events.append(tx, new)
    await api.work(Work.DELIVER)
    await api.work(Work.DELIVER)
    assert received_events(subscriber) == [(stored["id"], 2), (stored["id"], 3)]


async def three_delivered_the_first_resent(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> tuple[dict[str, Any], str]:
    """A subscription that was sent the three events of a subject, of which the first is due again;
    and the subject's id."""
    subscription = await api.subscribe(subscriber.url)
    subject = await api.create()
    await add_two_events(api, subject["id"])
    await deliver_all(api, clock)
    subscriber.requests.clear()
    first, *_ = await delivery_rows(api, subscription)
    await resend(api, first["id"])
    return subscription, subject["id"]


async def test_a_replay_while_the_delivery_before_is_recorded(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription, subject_id = await three_delivered_the_first_resent(api, subscriber, clock)
    async with gate(api.resources, "INSERT ON attempts"):
        delivering = asyncio.create_task(api.work(Work.DELIVER))
        await wait_until_blocked(api.resources)
        replaying = asyncio.create_task(replay_count(api, subscription, "all"))
        await wait_until_blocked(api.resources, 2)
    await delivering
    assert await replaying == 2
    assert await delivered_in_order(api, subscriber, subject_id) == 3


async def test_an_attempt_recorded_while_others_are_replayed_behind_it(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription, subject_id = await three_delivered_the_first_resent(api, subscriber, clock)
    deliverer = Deliverer(api.resources)
    (claimed,) = await deliverer.claim(10)
    gated = "UPDATE OF due_at ON deliveries"  # the last that a replay does
    async with gate(api.resources, gated):
        replaying = asyncio.create_task(replay_count(api, subscription, "all"))
        await wait_until_blocked(api.resources)
        delivering = asyncio.create_task(deliverer.deliver(claimed))
        await wait_until_blocked(api.resources, 2)
    assert await replaying == 2
    await delivering
    assert await delivered_in_order(api, subscriber, subject_id) == 3


async def test_two_of_a_subject_that_are_recorded_at_once(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    """The first is sent anew while the second is under way; a third waits."""
    subscription = await api.subscribe(subscriber.url)
    subject = await api.create()
    await deliver_all(api, clock)
    await add_two_events(api, subject["id"])
    deliverer, other = Deliverer(api.resources), Deliverer(api.resources)
    (second,) = await deliverer.claim(10)
    first, *_ = await delivery_rows(api, subscription)
    await resend(api, first["id"])
    (first_again,) = await other.claim(10)
    async with gate(api.resources, "INSERT ON attempts"):
        both = [
            asyncio.create_task(deliverer.deliver(second)),
            asyncio.create_task(other.deliver(first_again)),
        ]
        await wait_until_blocked(api.resources, 2)
    await asyncio.gather(*both)
    assert await api.violations() == []
    await deliver_all(api, clock)
    assert sorted(received_events(subscriber)) == [(subject["id"], n) for n in (1, 1, 2, 3)]


@pytest.mark.parametrize("answer", [200, 500])
async def test_no_event_waits_for_a_record_that_waits_for_the_subscribers_health(
    api: Api, subscriber: WebhookReceiver, clock: Clock, answer: int
) -> None:
    """Whoever has locked the health may want the subscriber, which the event has locked."""
    subscription = await api.subscribe(subscriber.url)
    subscriber.answers.append(500)
    await api.create()
    await api.work(Work.DELIVER)
    subject = await api.create()
    deliverer = Deliverer(api.resources)
    claimed = await deliverer.claim(10)
    subscriber.answers.append(answer)
    async with api.resources.database.transaction() as tx:
        await subscribers.lock_health_row(tx, subscription["id"])
        delivering = [asyncio.create_task(deliverer.deliver(delivery)) for delivery in claimed]
        await wait_until_blocked(api.resources)
        async with asyncio.timeout(5):
            await moved(api, subject["id"], Signal.PROCESSING)
        await subscribers.lock(tx, subscription["id"])
    await asyncio.gather(*delivering)
    await deliver_all(api, clock)
    assert [event for event in received_events(subscriber) if event[0] == subject["id"]][-2:] == [
        (subject["id"], 1),
        (subject["id"], 2),
    ]
