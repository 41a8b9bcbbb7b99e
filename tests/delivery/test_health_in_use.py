"""Each subscriber fails, slows and recovers without harm to the others."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.typing import EventDict

from service.delivery.cache import send_settings
from service.delivery.domain.subscriber_health import MIN_OPEN, OPEN_AFTER, RECOVERY_RATE
from service.delivery.steps import health_events
from service.delivery.steps.deliver import INITIAL_CONCURRENCY, Deliverer
from service.delivery.store import record as record_store
from service.job_queue import Work
from service.subjects.domain.event import event_id
from service.worker import make_work_loops
from tests.delivery.test_deliver import backend, listed
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.raw_servers import never_respond, scripted_server
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

NOBODY = "http://127.0.0.1:65009/"
DAY = 86_400.0


async def create(api: Api, count: int) -> list[str]:
    return [(await api.create(name=f"{number}"))["id"] for number in range(count)]


async def deliver_all(api: Api) -> None:
    """As often as a worker would: a subscriber that is not known to answer takes few at once."""
    for _ in range(12):
        await api.work(Work.DELIVER)


async def health_of(api: Api, subscriber: dict[str, Any]) -> dict[str, Any]:
    sql = "SELECT * FROM subscriber_health WHERE subscriber_id = $1"
    (health,) = await fetch(api.resources, sql, subscriber["id"])
    return health


async def feed(api: Api, type_: str) -> list[dict[str, Any]]:
    """The events of this type in the account's feed."""
    page = (await api.http.get("/v1/events", params={"limit": 200})).json()
    return [event for event in page["data"] if event["type"] == type_]


async def test_subscribers_that_hang_do_not_keep_the_others_waiting(
    api: Api, subscriber: WebhookReceiver
) -> None:
    settings = replace(api.resources.settings, delivery_concurrency=40)
    async with scripted_server(never_respond) as hanging:
        for _ in range(30):
            await api.subscribe(hanging, event_types=["subject.queued"])
        await create(api, INITIAL_CONCURRENCY + 1)
        loop = make_work_loops(replace(api.resources, settings=settings))[Work.DELIVER]
        running = asyncio.create_task(loop.run(interval=60))
        try:
            leased = "SELECT id FROM deliveries WHERE lease_token <> ''"

            async def full() -> bool:
                return len(await fetch(api.resources, leased)) == 30 * INITIAL_CONCURRENCY

            await wait_until(full)
            await api.subscribe(subscriber.url)
            await create(api, 5)
            await wait_until(lambda: len(subscriber.requests) == 5)
        finally:
            loop.stop()
            running.cancel()
            await loop.finish(0)


async def test_no_more_are_under_way_at_once_than_a_subscriber_asks_for(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, concurrency=2)
    await create(api, 8)
    deliverers = [Deliverer(api.resources) for _ in range(6)]
    claimed = [
        one for some in await asyncio.gather(*(c.claim(8) for c in deliverers)) for one in some
    ]
    assert len(claimed) == 2
    assert await deliverers[0].claim(8) == []
    await deliverers[0].deliver(claimed[0])
    assert len(await deliverers[0].claim(8)) == 1


async def test_no_more_are_sent_in_a_second_than_a_subscriber_asks_for(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, rate=2)
    await create(api, 7)
    sent = []
    for wait in (0, 0.4, 0.1, 0.5, 10):
        clock.advance(wait)
        await api.work(Work.DELIVER)
        sent.append(len(subscriber.requests))
    assert sent == [2, 2, 3, 4, 6]


async def test_claims_at_once_keep_to_the_rate_together(api: Api) -> None:
    await api.subscribe(NOBODY, rate=3)
    await create(api, 9)
    claims = await asyncio.gather(*(Deliverer(api.resources).claim(9) for _ in range(6)))
    assert sum(map(len, claims)) == 3


async def test_a_breaker_opens_and_one_probe_at_a_time_finds_out(api: Api, clock: Clock) -> None:
    async with backend(500) as failing:
        made = await api.subscribe(failing.url, schedule=[1, 3600])
        await create(api, 2 * INITIAL_CONCURRENCY + 5)
        await deliver_all(api)
        sent = len(failing.got)
        assert (await health_of(api, made))["circuit_open_until"] is not None
        await api.work(Work.DELIVER)
        assert len(failing.got) == sent, "nothing is sent while it is open"
        clock.advance(2 * MIN_OPEN)
        claims = await asyncio.gather(*(Deliverer(api.resources).claim(9) for _ in range(6)))
        (probe,) = [one for some in claims for one in some]
        await Deliverer(api.resources).deliver(probe)
        health = await health_of(api, made)
        assert (health["failed_probes"], health["circuit_open_until"] > clock.now) == (1, True)


async def test_what_it_missed_comes_by_itself_and_in_order_once_it_is_well(
    api: Api, clock: Clock
) -> None:
    async with backend(503) as shaky:
        made = await api.subscribe(shaky.url, schedule=[1, 36_000])
        ids = await create(api, OPEN_AFTER + 2)
        for one in ids:
            await api.http.post(f"/v1/subjects/{one}/cancel")
        await api.work(Work.DELIVER)
        clock.advance(1.5)
        await api.work(Work.DELIVER)
        waiting = [delivery for delivery in await listed(api, made) if delivery["next_attempt_at"]]
        assert len(waiting) == len(ids)
        shaky.answer_with(200)
        shaky.got.clear()
        for _ in range(12):
            clock.advance(6)
            await api.work(Work.DELIVER)
        assert {delivery["state"] for delivery in await listed(api, made)} == {"delivered"}
        sequences = Counter[str]()
        for event_id in shaky.got:
            stem, _, sequence = event_id.rpartition("_")
            sequences[stem] += 1
            assert sequences[stem] == int(sequence)
    assert await api.violations() == []


async def test_a_lane_that_comes_back_begins_slowly(api: Api, clock: Clock) -> None:
    async with backend(500) as shaky:
        made = await api.subscribe(shaky.url)
        await create(api, 60)
        await deliver_all(api)
        shaky.answer_with(200)
        shaky.got.clear()
        clock.advance(6)
        await api.work(Work.DELIVER)
        assert len(shaky.got) == 1
        health = await health_of(api, made)
        assert (health["circuit_open_until"], health["current_rate"]) == (None, RECOVERY_RATE)
        await deliver_all(api)
        assert len(shaky.got) == 1 + RECOVERY_RATE


async def test_an_account_hears_of_a_subscriber_that_fails_and_of_its_recovery(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.failing"])
    hears_all = await api.subscribe(subscriber.url, tags=["o_108"], reference_types=["video_refer"])
    async with backend(500) as failing:
        made = await api.subscribe(failing.url, schedule=[DAY / 2] * 9)
        await create(api, 1)
        await api.work(Work.DELIVER)
        clock.advance(DAY / 2 + 1)
        await api.work(Work.DELIVER)
        (event,) = await feed(api, "callsheet.subscriber.failing")
        assert (event["data"]["subscriber_id"], event["data"]["sequence"]) == (made["id"], 1)
        failing.answer_with(200)
        clock.advance(DAY / 2 + 1)
        await api.work(Work.DELIVER)
        await api.work(Work.DELIVER)
    (recovered,) = await feed(api, "callsheet.subscriber.recovered")
    assert recovered["data"]["sequence"] == 2
    types = Counter(orjson.loads(body)["type"] for _, body in subscriber.requests)
    assert types == {"callsheet.subscriber.failing": 2, "callsheet.subscriber.recovered": 1}
    assert len(await listed(api, hears_all)) == 2, "filters by subject do not concern these"
    assert {delivery["type"].partition(".")[0] for delivery in await listed(api, made)} == {
        "subject"
    }
    assert await api.violations() == []


async def test_days_of_nothing_but_failures_disable_a_subscriber(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    async with backend(500) as failing:
        made = await api.subscribe(failing.url, schedule=[DAY / 2] * 20)
        await create(api, 1)
        for _ in range(14):
            await api.work(Work.DELIVER)
            clock.advance(DAY / 2 * 1.01)
        shown = (await api.http.get(f"/v1/subscribers/{made['id']}")).json()
        assert shown["state"] == "disabled"
        assert shown["disabled_reason"].startswith("it has failed since ")
        assert {delivery["state"] for delivery in await listed(api, made)} == {"canceled"}
        await create(api, 1)
        sent = len(failing.got)
        await api.work(Work.DELIVER)
        assert len(failing.got) == sent
    assert len(await feed(api, "callsheet.subscriber.disabled")) == 1
    assert [orjson.loads(body)["data"]["reason"] for _, body in subscriber.requests] == [
        shown["disabled_reason"]
    ]
    assert await api.violations() == []


async def test_one_success_in_all_those_days_keeps_it(api: Api, clock: Clock) -> None:
    async with backend(500) as failing:
        made = await api.subscribe(failing.url, schedule=[DAY / 2] * 20)
        await create(api, 1)
        for turn in range(12):
            if turn == 6:
                failing.answer_with(200)
                await create(api, 1)
            await api.work(Work.DELIVER)
            failing.answer_with(500)
            clock.advance(DAY / 2 * 1.01)
        shown = (await api.http.get(f"/v1/subscribers/{made['id']}")).json()
        assert shown["state"] == "active"


async def test_without_an_order_the_events_of_a_subject_do_not_wait_for_each_other(
    api: Api, clock: Clock
) -> None:
    async with backend(500) as failing:
        await api.subscribe(failing.url, order="none")
        (one,) = await create(api, 1)
        await api.http.post(f"/v1/subjects/{one}/cancel")
        await api.work(Work.DELIVER)
        assert len(failing.got) == 2
    assert await api.violations() == []
    clock.advance(DAY)


async def test_subscribers_that_filter_hear_only_of_what_they_asked_for(api: Api) -> None:
    async with webhook_receiver() as one, webhook_receiver() as other, webhook_receiver() as third:
        await api.subscribe(one.url, reference_types=["video_refer"])
        await api.subscribe(other.url, tags=["o_102", "o_108"])
        await api.subscribe(third.url, tags=["o_101"], reference_types=["image_refer"])
        await api.create(tag_list=[{"tag_id": "o_108"}, {"tag_id": "o_103"}])
        await api.create(tag_list=[{"tag_id": "o_101"}])
        await api.create(tag_list=[])
        await api.work(Work.DELIVER)
        assert [len(some.requests) for some in (one, other, third)] == [0, 1, 1]
    assert await api.violations() == []


async def test_subjects_are_accepted_while_subscribers_are_deleted(api: Api) -> None:
    async def come_and_go() -> None:
        for _ in range(8):
            made = await api.subscribe(NOBODY)
            answer = await api.http.delete(f"/v1/subscribers/{made['id']}")
            assert answer.status_code == 204

    async def many(stem: int) -> None:
        for number in range(10):
            await api.create(name=f"{stem} {number}")

    await asyncio.gather(come_and_go(), come_and_go(), *(many(stem) for stem in range(3)))
    assert await api.violations() == []


async def test_a_secret_that_cannot_be_opened_is_an_attempt_with_its_reason(api: Api) -> None:
    made = await api.subscribe(NOBODY, timeout=1)
    spoilt = "UPDATE subscribers SET secret = decode(repeat('00', 40), 'hex') RETURNING id"
    await fetch(api.resources, spoilt)
    await api.create()
    await api.work(Work.DELIVER)
    (delivery,) = await listed(api, made)
    (attempt,) = delivery["attempts"]
    assert attempt["error"] == "secret: The secret cannot be opened: was SECRET_KEY changed?"
    assert delivery["state"] == "pending"
    sql = "SELECT * FROM subscriber_health WHERE failures > 0"
    assert await fetch(api.resources, sql) == [], "the fault is ours"


async def test_subscribers_that_are_gone_together_are_all_disabled_and_told_of(
    api: Api, subscriber: WebhookReceiver, logged: list[EventDict]
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    async with backend(410) as gone:
        made = [await api.subscribe(f"{gone.url}?{number}") for number in range(12)]
        await create(api, 2)
        await deliver_all(api)
    for one in made:
        shown = (await api.http.get(f"/v1/subscribers/{one['id']}")).json()
        assert (shown["state"], shown["disabled_reason"]) == ("disabled", "it answered 410 Gone")
    told = await feed(api, "callsheet.subscriber.disabled")
    assert {event["data"]["subscriber_id"] for event in told} == {
        subscriber["id"] for subscriber in made
    }
    assert len(told) == len(made) == len(subscriber.requests)
    assert [line for line in logged if line.get("action") == "unavailable"] == []


async def test_what_nobody_lived_to_tell_is_told_by_the_sweep(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, event_types=["callsheet.subscriber.disabled"])
    made = await api.subscribe(NOBODY)
    await create(api, 1)
    died = """INSERT INTO subscriber_health (subscriber_id, status, status_since, reason)
        VALUES ($1, 'disabled', now(), 'it answered 410 Gone')"""
    await fetch(api.resources, died, made["id"])
    for _ in range(2):
        await health_events.sweep(api.resources)
    await api.work(Work.DELIVER)
    shown = (await api.http.get(f"/v1/subscribers/{made['id']}")).json()
    assert shown["state"] == "disabled"
    assert [delivery["state"] for delivery in await listed(api, made)] == ["canceled"]
    assert len(subscriber.requests) == len(await feed(api, "callsheet.subscriber.disabled")) == 1


# The id of the first event that is to tell of this subscriber is taken.
STUCK = """
    INSERT INTO events (id, account_id, about_subscriber_id, sequence, type, body, created_at)
    SELECT $2, account_id, id, 1, 'other', '{"type":"other"}', created_at
    FROM subscribers WHERE id = $1
"""


async def test_what_cannot_be_told_of_one_is_told_of_the_others_and_recorded_once(
    api: Api, logged: list[EventDict]
) -> None:
    async with backend(410) as gone:
        made = [await api.subscribe(f"{gone.url}?{number}") for number in range(3)]
        await fetch(api.resources, STUCK, made[0]["id"], event_id(made[0]["id"], 1))
        await create(api, 1)
        await api.work(Work.DELIVER)
    told = await feed(api, "callsheet.subscriber.disabled")
    assert {event["data"]["subscriber_id"] for event in told} == {
        subscriber["id"] for subscriber in made[1:]
    }
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert [line["fenced"] for line in attempts] == [False] * 3
    assert [line.get("action") for line in logged].count("fault") == 1
    logged.clear()


async def test_one_that_cannot_be_told_of_keeps_the_sweep_from_none_of_the_others(
    api: Api, logged: list[EventDict]
) -> None:
    made = sorted([(await api.subscribe(NOBODY))["id"] for _ in range(3)])
    await create(api, 1)
    for subscriber_id in made:
        died = (
            "INSERT INTO subscriber_health (subscriber_id, status, status_since, reason)"
            " VALUES ($1, $2, now(), 'gone')"
        )
        await fetch(api.resources, died, subscriber_id, "disabled")
    await fetch(api.resources, STUCK, made[0], event_id(made[0], 1))
    await health_events.sweep(api.resources)
    told = await feed(api, "callsheet.subscriber.disabled")
    assert [event["data"]["subscriber_id"] for event in told] == made[1:]
    left = "SELECT subscriber_id FROM deliveries WHERE state = 'pending'"
    assert await fetch(api.resources, left) == []
    assert [line.get("action") for line in logged].count("fault") == 1
    logged.clear()


async def test_more_subscribers_than_are_remembered_are_all_written_to(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_settings, "MAX_CACHED", 1)
    async with webhook_receiver() as one:
        for _ in range(4):
            await api.subscribe(one.url)
        for _ in range(3):
            await create(api, 1)
            await api.work(Work.DELIVER)
        assert len(one.requests) == 12


async def test_one_made_active_again_while_its_deliveries_are_canceled_misses_nothing(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    (one,) = await create(api, 1)
    disabled = "UPDATE subscribers SET state = 'disabled' WHERE id = $1"
    await fetch(api.resources, disabled, made["id"])
    async with api.resources.database.transaction() as tx:
        assert await record_store.cancel_waiting(tx, api.resources.clock(), 10) == 1
        path = f"/v1/subscribers/{made['id']}"
        activating = asyncio.create_task(api.http.patch(path, json={"state": "active"}))
        await wait_until_blocked(api.resources)
    assert (await activating).status_code == 200
    await api.http.post(f"/v1/subjects/{one}/cancel")
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1
    assert await api.violations() == []


async def test_a_worker_whose_clock_was_wrong_shuts_no_lane_for_long(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url, rate=1)
    clock.advance(3600)
    await create(api, 2)
    await api.work(Work.DELIVER)
    clock.advance(-3500)
    await create(api, 2)
    await fetch(api.resources, "UPDATE deliveries SET due_at = $1 WHERE due_at > $1", clock.now)
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 2
