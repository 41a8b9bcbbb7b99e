"""Workers killed, stopped and resumed while they check media: one check counts, none is lost."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from service.local.stack import Stack
from tests.chaos.world import RunningService, stack_with_short_leases
from tests.support.media_host import MediaHost, media_host


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_with_short_leases(tmp_path_factory.mktemp("chaos")) as started:
        yield started


@pytest.fixture
async def world(running: Stack) -> AsyncIterator[RunningService]:
    async with RunningService.open(running) as service:
        yield service


@pytest.fixture
async def media() -> AsyncIterator[MediaHost]:
    async with media_host() as host:
        host.held = {"front"}
        yield host


async def test_the_media_that_a_killed_worker_was_checking_are_checked_again(
    world: RunningService, media: MediaHost
) -> None:
    subject = await world.create("killed", **media.images("front", "side"))
    await media.wait_for_request("front")
    await world.only_lease()
    world.stack.child("worker").kill()
    media.held = set()
    assert await world.create_outcomes(subject) == []
    world.stack.child("worker").start()
    assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    assert await world.create_outcomes(subject) == ["accepted"]
    assert world.violations() == "0 violations"


async def test_a_worker_stopped_in_a_media_check_is_fenced_off_when_it_resumes(
    world: RunningService, media: MediaHost
) -> None:
    stopped, other = world.stack.child("worker"), world.stack.add("worker-2", "worker")
    subject = await world.create("stopped", **media.images("front", "side"))
    await media.wait_for_request("front")
    stopped.send(signal.SIGSTOP)
    media.held = set()
    other.start()
    try:
        assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    finally:
        media.files["front"] = 404
        media.gate.set()
        stopped.send(signal.SIGCONT)
        other.stop()
    await world.wait_for_log(stopped, "media_checked")
    assert media.request_counts["side"] == 2, (
        "by another worker and the provider, not by the stopped one"
    )
    after = await world.create("after the stop", **media.images("side", "again"))
    assert (await world.wait_until_finished(after))["error"]["code"] == "media_not_found"
    assert (await world.read(subject))["state"] == "succeeded"
    assert await world.create_outcomes(subject) == ["accepted"]
    assert await world.create_outcomes(after) == []
    assert world.violations() == "0 violations"


async def test_a_media_check_longer_than_a_lease_is_made_once_while_its_worker_lives(
    world: RunningService, media: MediaHost
) -> None:
    other = world.stack.add("worker-3", "worker")
    other.start()
    try:
        subject = await world.create("long", **media.images("front", "side"))
        await media.wait_for_request("front")
        await world.wait_until_renewed(*await world.only_lease())
        media.gate.set()
        assert (await world.wait_until_finished(subject))["state"] == "succeeded"
    finally:
        other.stop()
    assert media.request_counts == {"front": 2, "side": 2}, "by one worker, and by the provider"
    assert world.violations() == "0 violations"
