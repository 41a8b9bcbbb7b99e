"""Workers killed, stopped and resumed at the worst moment: one create, and an end for all."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from service.local.stack import Stack
from tests.chaos.world import LEASE, World, quick_stack, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with quick_stack(tmp_path_factory.mktemp("chaos")) as one:
        yield one


@pytest.fixture
async def world(running: Stack) -> AsyncIterator[World]:
    async with World.of(running) as one:
        yield one


async def test_a_worker_killed_before_it_could_record_leaves_one_create_and_an_ended_subject(
    world: World,
) -> None:
    await world.fault(element_name="killed", delay=30)
    subject = await world.create("killed")
    await world.received(subject)
    world.stack.child("worker").kill()
    world.stack.child("worker").start()
    assert (await world.ended(subject))["state"] == "succeeded"
    assert await world.creates(subject) == ["accepted"]
    assert world.violations() == "0 violations"


async def test_a_worker_killed_while_no_callback_comes_leaves_it_to_the_look_up(
    world: World,
) -> None:
    await world.fault(element_name="killed mute", delay=30, lose=True)
    subject = await world.create("killed mute")
    await world.received(subject)
    world.stack.child("worker").restart()
    assert (await world.ended(subject))["state"] == "succeeded"
    assert await world.creates(subject) == ["accepted"]


async def test_a_worker_stopped_beyond_its_lease_is_fenced_off_when_it_resumes(
    world: World,
) -> None:
    stopped, other = world.stack.child("worker"), world.stack.add("worker-2", "worker")
    await world.fault(element_name="stopped", delay=LEASE / 2, lose=True)
    subject = await world.create("stopped")
    await world.received(subject)
    stopped.send(signal.SIGSTOP)
    other.start()
    try:
        assert (await world.ended(subject))["state"] == "succeeded"
    finally:
        stopped.send(signal.SIGCONT)
        other.stop()
    after = await world.create("after the stop")
    assert (await world.ended(after))["state"] == "succeeded"
    assert await world.creates(subject) == ["accepted"]
    assert world.violations() == "0 violations"


async def test_with_valkey_flushed_killed_and_away_work_goes_on(world: World) -> None:
    valkey = world.stack.child("valkey")
    subjects = [await world.create(f"before {number}") for number in range(3)]
    async with Redis.from_url(world.stack.env["CALLSHEET_REDIS_URL"]) as redis:
        await redis.flushall()
    subjects += [await world.create(f"flushed {number}") for number in range(3)]
    valkey.kill()
    subjects += [await world.create(f"away {number}") for number in range(3)]
    ready = await world.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    for subject in subjects:
        assert (await world.ended(subject))["state"] == "succeeded"
    valkey.start()

    async def is_ready() -> bool:
        return bool((await world.http.get("/readyz")).json()["status"] == "ready")

    await until(is_ready)
    again = await world.create("back")
    assert (await world.ended(again))["state"] == "succeeded"
    assert world.violations() == "0 violations"
