"""Whoever prunes passes over what others hold; and whoever comes meanwhile finds it gone, not half
of it."""

import asyncio
from dataclasses import dataclass

import asyncpg

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.store import replay
from service.retention.domain.kinds import Kind
from service.retention.steps import prune
from tests.retention.test_prune_subjects import DAY, cancel, rows
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.deliveries import CLOSED_PORT


@dataclass
class Told:
    """An event about a subscriber, and its delivery, which has ended."""

    event: str
    subscriber: str


async def told(api: Api, clock: Clock) -> Told:
    subscriber = await api.subscribe(CLOSED_PORT)
    (account,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'acme'")
    number = subscriber["id"].removeprefix("sbr_")
    event = f"evt_{number}_1"
    await fetch(
        api.resources,
        "INSERT INTO events (id, about_subscriber_id, account_id, sequence, type, body, created_at)"
        " VALUES ($1, $2, $3, 1, 'callsheet.subscriber.failing', '', $4)",
        *(event, subscriber["id"], account["id"], clock()),
    )
    return Told(event, subscriber["id"])


async def sent_anew(api: Api, clock: Clock, one: Told) -> int:
    async with api.resources.database.transaction() as tx:
        target = await replay.lock_target(tx, one.subscriber, [])
        assert target
        states = [DeliveryState.DEAD]
        return await replay.requeue(tx, target, [one.event], states=states, now=clock())


async def test_an_event_that_is_pruned_meanwhile_is_not_replayed(api: Api, clock: Clock) -> None:
    one = await told(api, clock)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM events WHERE id = $1 FOR UPDATE", one.event)
            replayed = asyncio.create_task(sent_anew(api, clock, one))
            await wait_until_blocked(api.resources)
            await connection.execute("DELETE FROM events WHERE id = $1", one.event)
        assert await replayed == 0
    finally:
        await connection.close()
    assert (await rows(api.resources))["deliveries"] == 0


async def test_an_event_that_is_replayed_meanwhile_is_not_pruned(api: Api, clock: Clock) -> None:
    one = await told(api, clock)
    clock.advance(181 * DAY)
    async with api.resources.database.transaction() as tx:
        target = await replay.lock_target(tx, one.subscriber, [])
        assert target
        assert await replay.requeue(tx, target, [one.event], states=[], now=clock()) == 1
        assert not (await prune.prune(api.resources)).counts
    assert not (await prune.prune(api.resources)).counts, "its delivery is pending"


async def test_what_another_holds_of_a_subject_keeps_it_until_the_next_round(
    api: Api, clock: Clock
) -> None:
    await api.subscribe(CLOSED_PORT)
    subjects = [await cancel(api) for _ in range(3)]
    await fetch(
        api.resources,
        "UPDATE deliveries SET state = 'delivered', due_at = NULL, finished_at = $1",
        clock(),
    )
    clock.advance(31 * DAY)
    held, told_of, _ = (subject["id"] for subject in subjects)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM subjects WHERE id = $1 FOR UPDATE", held)
            await connection.execute(
                "SELECT FROM deliveries WHERE ordering_key = $1 FOR NO KEY UPDATE", told_of
            )
            assert (await prune.prune(api.resources)).counts[Kind.CANCELED] == 1
    finally:
        await connection.close()
    assert (await rows(api.resources))["subjects"] == 2
    assert (await prune.prune(api.resources)).counts[Kind.CANCELED] == 2
    assert not any((await rows(api.resources)).values())
