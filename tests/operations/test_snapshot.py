"""One process at a time takes the snapshot; all read it, and none waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.typing import EventDict

from service.kit.database.database import Database
from service.kit.errors import Unavailable
from service.operations.cache.snapshot import SnapshotCache
from service.operations.domain.snapshot import Snapshot
from service.operations.domain.stages import Stage
from service.operations.steps import snapshot
from service.operations.store import snapshot as store
from service.resources import Resources
from service.retention.steps import prune
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch
from tests.support.database_access import open_database
from tests.support.tcp_proxy import tcp_proxy
from tests.support.waiting import wait_until
from tests.support.worker import logged_actions, running_worker

PROCESSES = 6
DAY = 24 * 3600
ROWS = "SELECT minute, stage, items FROM stage_snapshots ORDER BY minute, stage"


@asynccontextmanager
async def processes(resources: Resources) -> AsyncIterator[list[Resources]]:
    """So many processes, each with connections and a memory of its own."""
    async with AsyncExitStack() as opened:
        found = []
        for _ in range(PROCESSES):
            database = Database(resources.settings.database_url, 4)
            opened.push_async_callback(database.close)
            found.append(replace(resources, database=database, snapshots=SnapshotCache()))
        yield found


async def newest(resources: Resources) -> Snapshot:
    found = await snapshot.current(resources)
    assert found is not None
    return found


async def started(resources: Resources) -> bool:
    """Whether a process was to take one; it dies at once."""
    async with resources.database.autocommit() as tx:
        return await store.start_if_due(tx, resources.clock())


async def test_of_many_processes_at_once_one_takes_a_snapshot_each_15_seconds(
    api: Api, clock: Clock
) -> None:
    async with processes(api.resources) as all_of_them:

        async def take() -> list[bool]:
            return sorted(await asyncio.gather(*map(snapshot.take_if_due, all_of_them)))

        one = [False] * (PROCESSES - 1) + [True]
        assert await take() == one
        clock.advance(14.9)
        assert await take() == [False] * PROCESSES
        clock.advance(0.1)
        assert await take() == one


async def test_the_sweep_of_a_worker_takes_it(api: Api) -> None:
    async with running_worker(api.resources.settings):

        async def taken() -> bool:
            return bool(await fetch(api.resources, ROWS))

        await wait_until(taken)


async def test_all_processes_read_the_same(api: Api) -> None:
    await api.create()
    async with processes(api.resources) as all_of_them:
        await snapshot.take_if_due(all_of_them[0])
        found = [await snapshot.current(each) for each in all_of_them]
    assert found == [found[0]] * PROCESSES
    assert found[0] is not None
    assert found[0].taken_at == api.resources.clock()
    assert found[0].stages[Stage.QUEUED].items == 1


async def test_a_reader_has_it_taken_when_it_is_due(api: Api, clock: Clock) -> None:
    assert (await newest(api.resources)).taken_at == clock()
    began = clock()
    clock.advance(14.9)
    assert (await newest(api.resources)).taken_at == began
    clock.advance(1)
    assert (await newest(api.resources)).taken_at == clock()


async def test_readers_of_one_second_ask_the_database_once(api: Api, clock: Clock) -> None:
    first = await newest(api.resources)
    with executed_statements() as statements:
        clock.advance(0.9)
        assert await newest(api.resources) is first
        assert statements == []
        clock.advance(0.1)
        await asyncio.gather(*(newest(api.resources) for _ in range(5)))
    assert len(statements) == 1


async def test_a_process_that_died_taking_it_is_taken_over(api: Api, clock: Clock) -> None:
    assert await started(api.resources)
    clock.advance(29.9)
    assert await snapshot.current(api.resources) is None
    clock.advance(0.1)
    assert await snapshot.take_if_due(api.resources)


async def test_a_process_that_was_taken_over_writes_nothing(api: Api, clock: Clock) -> None:
    began = clock()
    assert await started(api.resources)
    clock.advance(30)
    later = await newest(api.resources)
    async with api.resources.database.autocommit() as tx:
        await store.write(tx, began, later.stages, later.gauges)
        assert await store.read(tx) == later


@pytest.mark.parametrize("finished", [True, False])
async def test_a_clock_that_was_ahead_puts_no_snapshot_off(
    api: Api, clock: Clock, *, finished: bool
) -> None:
    clock.advance(DAY)
    assert await (snapshot.take_if_due if finished else started)(api.resources)
    clock.advance(-DAY)
    assert await snapshot.take_if_due(api.resources)
    assert (await newest(api.resources)).taken_at == clock()


async def test_the_last_one_of_a_minute_is_kept(api: Api, clock: Clock) -> None:
    clock.now = datetime.fromisoformat("2026-11-22T12:00:05Z")
    await snapshot.take_if_due(api.resources)
    await api.create()
    clock.advance(50)
    await snapshot.take_if_due(api.resources)
    clock.advance(15)
    await snapshot.take_if_due(api.resources)
    rows = await fetch(api.resources, ROWS)
    first, second = (datetime.fromisoformat(f"2026-11-22T12:0{n}:00Z") for n in (0, 1))
    assert [(row["minute"], row["stage"]) for row in rows] == [
        (minute, stage) for minute in (first, second) for stage in sorted(Stage)
    ]
    assert [row["items"] for row in rows if row["stage"] == Stage.QUEUED] == [1, 1]


async def test_stages_are_kept_for_two_days(api: Api, clock: Clock) -> None:
    clock.now = datetime.fromisoformat("2026-11-22T12:00:00Z")
    await snapshot.take_if_due(api.resources)
    clock.advance(2 * DAY)
    await snapshot.take_if_due(api.resources)
    await prune.prune(api.resources)
    assert len(await fetch(api.resources, ROWS)) == 2 * len(Stage)
    clock.advance(1)
    await prune.prune(api.resources)
    assert {row["minute"] for row in await fetch(api.resources, ROWS)} == {
        datetime.fromisoformat("2026-11-24T12:00:00Z")
    }


async def test_stages_are_pruned_in_small_steps(api: Api, clock: Clock) -> None:
    for _ in range(3):
        await snapshot.take_if_due(api.resources)
        clock.advance(60)
    async with api.resources.database.autocommit() as tx:
        assert await store.prune(tx, clock(), 1) == len(Stage)
        assert await store.prune(tx, clock(), 3 * len(Stage)) == 2 * len(Stage)
        assert await store.prune(tx, clock(), 1) == 0


async def test_while_the_database_is_silent_a_reader_gets_the_last_one_in_time(
    api: Api, clock: Clock
) -> None:
    url = api.resources.settings.database_url
    port = urlsplit(url).port
    assert port
    async with tcp_proxy(port) as proxy:
        url = url.replace(f":{port}", f":{proxy.port}")
        async with open_database(url) as database:
            known, unknown = (
                replace(api.resources, database=database, snapshots=SnapshotCache())
                for _ in range(2)
            )
            first = await newest(known)
            clock.advance(20)
            proxy.blackhole()
            proxy.blackhole_all = True
            async with asyncio.timeout(5):  # a connection is waited for twice as long
                assert await snapshot.current(known) is first
                assert await snapshot.current(unknown) is None
            proxy.reset()
            await known.snapshots.close()
            await unknown.snapshots.close()


async def test_without_its_tables_there_is_none(api: Api, logged: list[EventDict]) -> None:
    await fetch(api.resources, "DROP TABLE snapshot")
    assert await snapshot.current(api.resources) is None
    assert "snapshot_not_read" in logged_actions(logged)


async def test_a_table_that_is_locked_keeps_nobody_waiting(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "STATEMENT_TIMEOUT", timedelta(milliseconds=50))
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE subjects IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable):
                await snapshot.take_if_due(api.resources)
    finally:
        await connection.close()
    clock.advance(30)
    assert await snapshot.take_if_due(api.resources)
