"""Deliveries count as due whatever holds them back, and as retrying once one of them failed."""

from datetime import timedelta

import pytest

from service.operations.domain.stages import Stage
from service.operations.store import waiting
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import CLOSED_PORT, create_subjects, scripted_subscriber
from tests.support.replays import deliver_all, replay_count
from tests.support.waiting_stages import found_waiting
from tests.support.webhook_receiver import WebhookReceiver

QUEUED = {"event_types": ["subject.queued"]}
LIMITED = """
    INSERT INTO subscriber_health (subscriber_id, circuit_open_until, current_rate,
        rate_limited_until)
    SELECT $1, $2::timestamptz, $3::float, $4::timestamptz
"""
HOLD = """
    INSERT INTO holds (id, what, reason, created_at) VALUES ('hld_1', 'deliveries', 'test', now())
"""


async def due(api: Api) -> tuple[int, float] | None:
    return (await found_waiting(api)).get(Stage.DELIVERY_DUE)


async def retrying(api: Api) -> tuple[int, float] | None:
    return (await found_waiting(api)).get(Stage.DELIVERY_RETRYING)


async def test_it_is_due_to_each_subscriber_since_its_due_time(api: Api, clock: Clock) -> None:
    for _ in range(2):
        await api.subscribe(CLOSED_PORT, **QUEUED)
    await api.create()
    clock.advance(7)
    await api.create()
    assert await due(api) == (4, 7)


@pytest.mark.parametrize("held_back", ["paused", "open", "slowed", "held"])
async def test_what_is_held_back_is_due(api: Api, clock: Clock, held_back: str) -> None:
    subscriber = await api.subscribe(CLOSED_PORT, **QUEUED)
    await api.create()
    later = clock() + timedelta(seconds=50)
    if held_back == "paused":
        path = f"/v1/subscribers/{subscriber['id']}"
        (await api.http.patch(path, json={"state": "paused"})).raise_for_status()
    elif held_back == "held":
        await fetch(api.resources, HOLD)
    else:
        limits = (later, None, None) if held_back == "open" else (None, 0.2, later)
        await fetch(api.resources, LIMITED, subscriber["id"], *limits)
    clock.advance(7)
    await api.work(Work.DELIVER)
    assert await fetch(api.resources, "SELECT delivery_id FROM attempts") == []
    assert await due(api) == (1, 7)


async def test_what_is_under_way_is_due_again_once_its_lease_is_over(
    api: Api, clock: Clock
) -> None:
    await api.subscribe(CLOSED_PORT, **QUEUED)
    await api.create()
    lease = "UPDATE deliveries SET lease_token = 'lse_1', due_at = $1"
    await fetch(api.resources, lease, clock() + timedelta(seconds=30))
    assert await due(api) is None
    clock.advance(31)
    assert await due(api) == (1, 1)


async def test_what_waits_behind_an_earlier_event_is_not_due(api: Api, clock: Clock) -> None:
    await api.subscribe(CLOSED_PORT)
    subject = await api.create()
    clock.advance(7)
    (await api.http.post(f"/v1/subjects/{subject['id']}/cancel")).raise_for_status()
    assert len(await fetch(api.resources, "SELECT id FROM deliveries")) == 2
    assert await due(api) == (1, 7)


async def test_what_failed_is_retrying_since_its_event_until_it_has_ended(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as subscriber:
        await api.subscribe(subscriber.url, **QUEUED)
        await api.create()
        clock.advance(1)
        assert await found_waiting(api) == {
            Stage.QUEUED: (1, 1), Stage.DELIVERY_DUE: (1, 1)
        }  # fmt: skip
        await api.work(Work.DELIVER)
        assert (await due(api), await retrying(api)) == (None, (1, 1))
        clock.advance(9)
        assert (await due(api), await retrying(api)) == ((1, 4), (1, 10))
        subscriber.answer_with(200)
        await api.work(Work.DELIVER)
        assert (await due(api), await retrying(api)) == (None, None)


async def test_what_is_replayed_is_retrying_once_it_failed_anew_and_since_the_replay(
    api: Api, clock: Clock
) -> None:
    async with scripted_subscriber(500) as server:
        subscriber = await api.subscribe(server.url, schedule=[1], **QUEUED)
        await api.create()
        await deliver_all(api, clock)
        assert (await due(api), await retrying(api)) == (None, None), "it is dead"
        clock.advance(3600)
        assert await replay_count(api, subscriber, "failed") == 1
        clock.advance(3)
        assert (await due(api), await retrying(api)) == ((1, 3), None)
        await api.work(Work.DELIVER)
        assert (await due(api), await retrying(api)) == (None, (1, 3))


async def test_what_was_delivered_waits_nowhere(api: Api, subscriber: WebhookReceiver) -> None:
    await api.subscribe(subscriber.url, **QUEUED)
    await create_subjects(api, 3)
    await api.work(Work.DELIVER)
    assert set(await found_waiting(api)) == {Stage.QUEUED}


async def test_only_what_failed_is_written_to_the_index_of_what_is_retried(api: Api) -> None:
    size = "SELECT pg_relation_size('ix_deliveries_retrying') AS bytes"
    empty = await fetch(api.resources, size)
    async with scripted_subscriber(200) as server:
        await api.subscribe(server.url, **QUEUED)
        await create_subjects(api, 3)
        await api.work(Work.DELIVER)
        assert len(await fetch(api.resources, "SELECT number FROM attempts")) == 3
        assert await fetch(api.resources, size) == empty
        server.answer_with(500)
        await create_subjects(api, 1)
        await api.work(Work.DELIVER)
    assert await fetch(api.resources, size) != empty


async def test_no_more_are_counted_than_so_many_and_the_oldest_is_found(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_COUNTED", 3)
    first, second = [await api.subscribe(CLOSED_PORT, **QUEUED) for _ in range(2)]
    await create_subjects(api, 4)
    older = "UPDATE deliveries SET due_at = due_at - interval '9 s' WHERE subscriber_id = $1"
    await fetch(api.resources, older, max(first["id"], second["id"]))
    assert await due(api) == (3, 9)


async def test_of_no_more_subscribers_is_it_counted_than_so_many(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_SUBSCRIBERS", 2)
    for _ in range(3):
        await api.subscribe(CLOSED_PORT, **QUEUED)
    await api.create()
    assert await due(api) == (2, 0)
