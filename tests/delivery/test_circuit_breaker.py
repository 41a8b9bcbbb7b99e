"""Circuit breakers, rate limits and concurrency: a slow or failing subscriber harms no other."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from service.delivery.domain.subscriber_health import MIN_OPEN, OPEN_AFTER, RECOVERY_RATE
from service.delivery.domain.throughput import INITIAL_CONCURRENCY
from service.delivery.steps.deliver import Deliverer
from service.subjects.domain.work import Work
from service.worker import make_work_loops
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import (
    CLOSED_PORT,
    create_subjects,
    deliver_repeatedly,
    deliveries_of,
    health_of,
    scripted_subscriber,
)
from tests.support.raw_servers import never_respond, scripted_server
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver


async def test_subscribers_that_hang_do_not_keep_the_others_waiting(
    api: Api, subscriber: WebhookReceiver
) -> None:
    settings = replace(api.resources.settings, delivery_concurrency=40)
    async with scripted_server(never_respond) as hanging:
        for _ in range(30):
            await api.subscribe(hanging, event_types=["subject.queued"])
        await create_subjects(api, INITIAL_CONCURRENCY + 1)
        loop = make_work_loops(replace(api.resources, settings=settings))[Work.DELIVER]
        running = asyncio.create_task(loop.run(interval=60))
        try:
            leased = "SELECT id FROM deliveries WHERE lease_token <> ''"

            async def full() -> bool:
                return len(await fetch(api.resources, leased)) == 30 * INITIAL_CONCURRENCY

            await wait_until(full)
            await api.subscribe(subscriber.url)
            await create_subjects(api, 5)
            loop.notify()  # as a worker does that hears of them
            await wait_until(lambda: len(subscriber.requests) == 5)
        finally:
            loop.stop()
            running.cancel()
            await loop.finish(0)


async def test_a_subscribers_concurrency_limit_is_kept(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, concurrency=2)
    await create_subjects(api, 8)
    deliverers = [Deliverer(api.resources) for _ in range(6)]
    claimed = [
        delivery
        for claim in await asyncio.gather(*(deliverer.claim(8) for deliverer in deliverers))
        for delivery in claim
    ]
    assert len(claimed) == 2
    assert await deliverers[0].claim(8) == []
    await deliverers[0].deliver(claimed[0])
    assert len(await deliverers[0].claim(8)) == 1


@pytest.mark.parametrize(
    ("due", "said"),
    [
        (INITIAL_CONCURRENCY + 1, [False, *[True] * (INITIAL_CONCURRENCY - 1)]),
        (INITIAL_CONCURRENCY - 1, [False] * (INITIAL_CONCURRENCY - 1)),
    ],
)
async def test_others_are_claimed_once_a_quarter_of_all_that_a_subscriber_may_have_has_ended(
    api: Api, subscriber: WebhookReceiver, due: int, said: list[bool]
) -> None:
    """Not after each, as claims are costly; and not if there were no more than were claimed."""
    await api.subscribe(subscriber.url)
    await create_subjects(api, due)
    deliverer = Deliverer(api.resources)
    claimed = await deliverer.claim(100)
    assert [await deliverer.deliver(delivery) for delivery in claimed] == said


async def test_a_subscribers_rate_limit_is_kept(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, rate=2)
    await create_subjects(api, 7)
    sent = []
    for wait in (0, 0.4, 0.1, 0.5, 10):
        clock.advance(wait)
        await api.work(Work.DELIVER)
        sent.append(len(subscriber.requests))
    assert sent == [2, 2, 3, 4, 6]


async def test_concurrent_claims_keep_to_the_rate_limit_together(api: Api) -> None:
    await api.subscribe(CLOSED_PORT, rate=3)
    await create_subjects(api, 9)
    claims = await asyncio.gather(*(Deliverer(api.resources).claim(9) for _ in range(6)))
    assert sum(map(len, claims)) == 3


async def test_a_circuit_breaker_opens_and_lets_one_probe_through_at_a_time(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as failing:
        subscription = await api.subscribe(failing.url, schedule=[1, 3600])
        await create_subjects(api, 2 * INITIAL_CONCURRENCY + 5)
        await deliver_repeatedly(api)
        sent = len(failing.event_ids)
        assert (await health_of(api, subscription))["circuit_open_until"] is not None
        await api.work(Work.DELIVER)
        assert len(failing.event_ids) == sent, "nothing is sent while it is open"
        clock.advance(2 * MIN_OPEN)
        claims = await asyncio.gather(*(Deliverer(api.resources).claim(9) for _ in range(6)))
        (probe,) = [delivery for claim in claims for delivery in claim]
        await Deliverer(api.resources).deliver(probe)
        health = await health_of(api, subscription)
        assert (health["failed_probes"], health["circuit_open_until"] > clock.now) == (1, True)


async def test_after_recovery_missed_deliveries_are_sent_in_order(api: Api, clock: Clock) -> None:
    async with scripted_subscriber(503) as unstable:
        subscription = await api.subscribe(unstable.url, schedule=[1, 36_000])
        ids = await create_subjects(api, OPEN_AFTER + 2)
        for subject_id in ids:
            await api.http.post(f"/v1/subjects/{subject_id}/cancel")
        await api.work(Work.DELIVER)
        clock.advance(1.5)
        await api.work(Work.DELIVER)
        waiting = [
            delivery
            for delivery in await deliveries_of(api, subscription)
            if delivery["next_attempt_at"]
        ]
        assert len(waiting) == len(ids)
        unstable.answer_with(200)
        unstable.event_ids.clear()
        for _ in range(12):
            clock.advance(6)
            await api.work(Work.DELIVER)
        assert {delivery["state"] for delivery in await deliveries_of(api, subscription)} == {
            "delivered"
        }
        sequences = Counter[str]()
        for event_id in unstable.event_ids:
            stem, _, sequence = event_id.rpartition("_")
            sequences[stem] += 1
            assert sequences[stem] == int(sequence)
    assert await api.violations() == []


async def test_a_subscriber_that_recovers_is_sent_to_slowly_at_first(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as unstable:
        subscription = await api.subscribe(unstable.url)
        await create_subjects(api, 60)
        await deliver_repeatedly(api)
        unstable.answer_with(200)
        unstable.event_ids.clear()
        clock.advance(6)
        await api.work(Work.DELIVER)
        assert len(unstable.event_ids) == 1
        health = await health_of(api, subscription)
        assert (health["circuit_open_until"], health["current_rate"]) == (None, RECOVERY_RATE)
        await deliver_repeatedly(api)
        assert len(unstable.event_ids) == 1 + RECOVERY_RATE


async def test_a_worker_whose_clock_was_wrong_pauses_no_subscriber_for_long(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, rate=1)
    clock.advance(3600)
    await create_subjects(api, 2)
    await api.work(Work.DELIVER)
    clock.advance(-3500)
    await create_subjects(api, 2)
    await fetch(api.resources, "UPDATE deliveries SET due_at = $1 WHERE due_at > $1", clock.now)
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 2
