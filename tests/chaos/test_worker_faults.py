"""Workers killed, stopped and resumed at the worst moment: one create, and an end for all."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from service.local.stack import Stack
from tests.chaos.world import LEASE, RunningService, stack_with_short_leases, until
from tests.support.deliveries import ScriptedSubscriber, scripted_subscriber
from tests.support.request_bodies import request_body


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_with_short_leases(tmp_path_factory.mktemp("chaos")) as started:
        yield started


@pytest.fixture
async def world(running: Stack) -> AsyncIterator[RunningService]:
    async with RunningService.open(running) as service:
        yield service


async def test_a_worker_killed_before_it_could_record_leaves_one_create_and_an_ended_subject(
    world: RunningService,
) -> None:
    await world.add_fault(element_name="killed", delay=30)
    subject = await world.create("killed")
    await world.wait_for_create_call(subject)
    world.stack.child("worker").kill()
    world.stack.child("worker").start()
    assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    assert await world.create_outcomes(subject) == ["accepted"]
    assert world.violations() == "0 violations"


async def test_a_worker_killed_while_no_callback_comes_leaves_it_to_the_look_up(
    world: RunningService,
) -> None:
    await world.add_fault(element_name="killed mute", delay=30, lose=True)
    subject = await world.create("killed mute")
    await world.wait_for_create_call(subject)
    world.stack.child("worker").restart()
    assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    assert await world.create_outcomes(subject) == ["accepted"]


async def test_a_worker_stopped_beyond_its_lease_is_fenced_off_when_it_resumes(
    world: RunningService,
) -> None:
    stopped, other = world.stack.child("worker"), world.stack.add("worker-2", "worker")
    await world.add_fault(element_name="stopped", delay=LEASE / 2, lose=True)
    subject = await world.create("stopped")
    await world.wait_for_create_call(subject)
    stopped.send(signal.SIGSTOP)
    other.start()
    try:
        assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    finally:
        stopped.send(signal.SIGCONT)
        other.stop()
    after = await world.create("after the stop")
    assert (await world.wait_until_finished(after))["state"] == "succeeded"
    assert await world.create_outcomes(subject) == ["accepted"]
    assert world.violations() == "0 violations"


async def test_a_worker_stopped_between_claim_and_call_does_not_call_when_it_resumes(
    world: RunningService,
) -> None:
    stopped, other = world.stack.child("worker"), world.stack.add("worker-3", "worker")
    stopped.stop()
    subject = await world.create("claimed")
    async with world.locked("subject_media"):  # read between the claim and the call
        stopped.start()
        await world.only_lease()
        await until(world.waits_for_lock)
        stopped.send(signal.SIGSTOP)
    other.start()
    try:
        assert (await world.wait_until_finished(subject))["state"] == "succeeded"
        stopped.send(signal.SIGCONT)
        await world.wait_for_log(stopped, "lease_expired")
    finally:
        stopped.send(signal.SIGCONT)
        other.stop()
    assert await world.create_outcomes(subject) == ["accepted"]
    assert world.violations() == "0 violations"


@asynccontextmanager
async def slow_subscriber(world: RunningService) -> AsyncIterator[ScriptedSubscriber]:
    """A subscriber that is told of the next subject once, and answers when its gate opens."""
    async with scripted_subscriber(200) as slow:
        slow.gate = gate = asyncio.Event()
        wishes = {"url": slow.url, "event_types": ["subject.queued"], "timeout": 30}
        made = await world.http.post("/v1/subscribers", json=wishes)
        assert made.status_code == 201, made.text
        try:
            yield slow
        finally:
            gate.set()
            await world.http.delete(f"/v1/subscribers/{made.json()['id']}")


async def test_what_a_killed_worker_was_delivering_is_delivered_by_another(
    world: RunningService,
) -> None:
    killed, other = world.stack.child("worker"), world.stack.add("worker-4", "worker")
    async with slow_subscriber(world) as slow:
        await world.wait_until_finished(await world.create("killed in a delivery"))
        await until_got(slow, 1)
        await world.only_lease()
        killed.kill()
        other.start()
        try:
            await until(world.no_delivery_pending)
        finally:
            other.stop()
            killed.start()
        assert len(slow.event_ids) == 2
        assert len(set(slow.event_ids)) == 1
    assert world.violations() == "0 violations"


async def test_a_worker_stopped_between_claim_and_delivery_sends_nothing_when_it_resumes(
    world: RunningService,
) -> None:
    stopped, other = world.stack.child("worker"), world.stack.add("worker-5", "worker")
    async with slow_subscriber(world) as slow:
        slow.gate = None
        async with world.locked(
            "previous_signing_keys"
        ):  # read between the claim and the first delivery
            await world.create("claimed for delivery")
            await until(world.waits_for_lock)
            stopped.send(signal.SIGSTOP)
        other.start()
        try:
            await until_got(slow, 1)
            await until(world.no_delivery_pending)
            stopped.send(signal.SIGCONT)
            await world.wait_for_log(stopped, "lease_expired")
        finally:
            stopped.send(signal.SIGCONT)
            other.stop()
        assert len(slow.event_ids) == 1
    assert world.violations() == "0 violations"


async def test_a_delivery_longer_than_a_lease_is_made_once_while_its_worker_lives(
    world: RunningService,
) -> None:
    other = world.stack.add("worker-6", "worker")
    other.start()
    try:
        async with slow_subscriber(world) as slow:
            gate = slow.gate
            await world.wait_until_finished(await world.create("delivered slowly"))
            await until_got(slow, 1)
            await world.wait_until_renewed(*await world.only_lease())
            assert gate is not None
            gate.set()
            await until(world.no_delivery_pending)
            assert len(slow.event_ids) == 1
    finally:
        other.stop()
    assert world.violations() == "0 violations"


async def until_got(slow: ScriptedSubscriber, count: int) -> None:
    async def has_got() -> bool:
        return len(slow.event_ids) >= count

    await until(has_got)


async def test_with_valkey_flushed_killed_and_away_work_goes_on(world: RunningService) -> None:
    valkey = world.stack.child("valkey")
    subjects = [await world.create(f"before {number}") for number in range(3)]
    async with Redis.from_url(world.stack.env["CALLSHEET_REDIS_URL"]) as redis:
        await redis.flushall()
    subjects += [await world.create(f"flushed {number}") for number in range(3)]
    subjects.append(await world.create_by_job(request_body("flushed"), "flushed"))
    valkey.kill()
    subjects += [await world.create(f"away {number}") for number in range(3)]
    ready = await world.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    for subject in subjects:
        assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    valkey.start()

    async def is_ready() -> bool:
        return bool((await world.http.get("/readyz")).json()["status"] == "ready")

    await until(is_ready)
    again = await world.create_by_job(request_body("back"), "back")
    assert (await world.wait_until_finished(again))["state"] == "succeeded"
    assert world.violations() == "0 violations"
