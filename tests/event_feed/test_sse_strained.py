"""Event streams under strain: slow readers, lost connections, too many of them, the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx
import pytest
from structlog.typing import EventDict

from service import server
from service.event_feed.steps import event_hub, feed_reader
from service.event_feed.web import sse
from service.kit.database import listen
from service.kit.http import connection_limits
from service.local.ports import free_port
from service.resources import Resources
from service.subjects.store.events import NOTIFY_CHANNEL
from tests.support.database import executed_statements, fetch
from tests.support.event_streams import FeedApi, feed_api, subject_ids
from tests.support.subjects import add_large_events, ids_of
from tests.support.waiting import wait_until

KILL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = $1 AND datname = current_database()
"""
STREAMS = 50


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as world:
        yield world


async def test_a_comment_comes_while_nothing_happens(world: FeedApi) -> None:
    async with world.stream() as reader:
        await reader.chunk()
        for follower in tuple(world.web.app.state.hub.readers()):
            follower.tick(0)
        while not reader.comments:
            await reader.chunk()
        (made,) = await world.add_subjects()
        assert subject_ids([await reader.frame()]) == ids_of(made)


def test_each_stream_ticks_often_enough() -> None:
    assert event_hub.TICK_GROUPS * event_hub.TICK_INTERVAL <= 14, (
        "a comment comes at least every 15 s"
    )


async def test_a_stream_ends_when_its_time_is_over_and_goes_on_anew(world: FeedApi) -> None:
    async with world.stream() as reader:
        await reader.chunk()
        for follower in tuple(world.web.app.state.hub.readers()):
            follower.tick(asyncio.get_running_loop().time() + sse.LIFETIME + 1)
        assert await reader.rest() == []
    (made,) = await world.add_subjects()
    async with world.stream(last_event_id=reader.last_id) as again:
        assert subject_ids([await again.frame()]) == ids_of(made)


async def test_a_reader_too_slow_for_what_comes_is_cut_off_and_resumes(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_reader, "MAX_PENDING_BYTES", 100_000)
    async with world.stream(narrow=True) as slow, world.stream() as quick:
        for _ in range(10):
            await add_large_events(world.resources, world.account, 10, 10_000)
            await quick.frames(10)
        frames = await slow.rest()
    assert len(frames) < 100
    last = slow.last_id
    async with world.stream(last_event_id=last) as again:
        frames += await again.frames(100 - len(frames))
    pages = [event["data"]["sequence"] for event in (frame.data for frame in frames)]
    assert pages == list(range(1, 11)) * 10


async def test_a_reader_who_takes_nothing_is_cut_off_in_time(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "UNREAD_SECONDS", 0.1)
    async with world.stream(narrow=True):
        await add_large_events(world.resources, world.account, 50, 10_000)

        async def gone() -> bool:
            return world.reader_count() == 0

        await wait_until(gone)


async def test_streams_go_on_when_postgres_ends_the_connection_that_listens(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "RECONNECT_DELAY", 0.05)
    async with world.stream() as reader:
        await wait_until(world.is_listening)
        assert await fetch(world.resources, KILL, listen.session_name(NOTIFY_CHANNEL))
        made = await world.add_subjects(2)
        assert subject_ids(await reader.frames(2)) == ids_of(*made)
        await wait_until(world.is_listening)
        made = await world.add_subjects(2)
        assert subject_ids(await reader.frames(2)) == ids_of(*made)


async def test_one_query_serves_all_streams_of_a_wake(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "READ_INTERVAL", 600)  # it is the notice alone that wakes
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(world.stream()) for _ in range(STREAMS)]
        await wait_until(world.is_listening)
        (made,) = await world.add_subjects()
        for reader in readers:
            assert subject_ids([await reader.frame()]) == ids_of(made)
        with executed_statements() as statements:
            (made,) = await world.add_subjects()
            for reader in readers:
                assert subject_ids([await reader.frame()]) == ids_of(made)
        reads = [statement for statement in statements if "INSERT" not in statement]
        asked = [statement for statement in reads if "CROSS JOIN LATERAL" in statement]
        assert len(asked) == 1
        read = [statement for statement in reads if "FROM events" in statement]
        assert read == asked


async def test_there_are_no_more_streams_than_allowed(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "MAX_READERS_PER_ACCOUNT", 2)
    async with world.stream(), world.stream() as second, world.stream() as third:
        assert (second.status, third.status) == (200, 503)
        assert third.headers["retry-after"]
        second.close()

        async def free() -> bool:
            async with world.stream() as stream:
                return stream.status == 200

        await wait_until(free)


async def test_at_shutdown_streams_and_long_polls_end_at_once(world: FeedApi) -> None:
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(world.stream()) for _ in range(20)]
        waiting = asyncio.create_task(world.get("/v1/events", wait="60"))
        hub = world.web.app.state.hub

        async def joined() -> bool:
            return world.reader_count() == 21

        await wait_until(joined)
        hub.close()
        for reader in readers:
            assert await reader.rest() == []
        answer = await waiting
        assert (answer.status_code, answer.json()["data"]) == (200, [])
        assert answer.headers["connection"] == "close"
        async with world.stream() as refused:
            assert refused.status == 503
            assert refused.headers["retry-after"]


async def test_the_process_stops_at_once_however_many_streams_are_open(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_TIMEOUT", 600)  # what uvicorn would wait for them
    here, stop = replace(world.resources.settings, port=free_port()), asyncio.Event()
    running = asyncio.create_task(server.run(here, stop))
    world.web.port = here.port

    async def listens() -> bool:
        try:
            return (await world.get("/healthz")).status_code == 200
        except httpx.ConnectError:
            return False

    await wait_until(listens)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(world.stream()) for _ in range(STREAMS)]
        await stack.enter_async_context(world.stream(narrow=True))  # and takes nothing
        await add_large_events(world.resources, world.account, 50, 10_000)
        for reader in readers:
            await reader.frames(50)
        stop.set()
        async with asyncio.timeout(10):
            assert await running is True


async def test_a_stream_that_cannot_be_read_on_ends_so_that_it_is_resumed(
    world: FeedApi, logged: list[EventDict]
) -> None:
    made = await world.add_subjects(2)
    await fetch(world.resources, "ALTER TABLE events RENAME TO gone")
    async with world.stream(last_event_id="0-0") as reader:
        assert await reader.rest() == []
    await fetch(world.resources, "ALTER TABLE gone RENAME TO events")
    async with world.stream(last_event_id=reader.last_id) as again:
        assert subject_ids(await again.frames(2)) == ids_of(*made)
    logged[:] = [line for line in logged if line.get("action") != "fault"]
