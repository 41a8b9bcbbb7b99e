"""Connections are had in turn, no more than were given; what is broken off is not used again."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import text

from service.accounts.store import api_keys
from service.kit.database.database import Database
from service.kit.database.pool import PoolTimeouts
from service.kit.errors import Unavailable
from service.resources import Resources
from tests.support.database_access import (
    BACKEND_PID,
    INSERT_ACCOUNT,
    open_database,
    pid_in_autocommit,
    pid_in_relaxed,
    pid_in_transaction,
)
from tests.support.metrics import MetricChanges
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

SOON = 5.0  # seconds; far from the 45 that a statement may take
PLACES, USERS, ROUNDS = 4, 40, 20
WAITING = text("SELECT 1 FROM pg_locks WHERE NOT granted")


async def test_no_more_connections_are_opened_than_were_given(database_url: str) -> None:
    database = Database(database_url, 5)
    try:
        async with asyncio.timeout(SOON):
            pids = await asyncio.gather(
                *(pid_in_transaction(database) for _ in range(10)),
                *(pid_in_relaxed(database) for _ in range(10)),
            )
    finally:
        await database.close()
    assert len(set(pids)) <= 5 - 1  # one is the listener's


async def test_who_waits_too_long_for_a_connection_is_told_to_come_back(database_url: str) -> None:
    database, changes = Database(database_url, 4, PoolTimeouts(acquire=0.1)), MetricChanges()
    async with database.transaction():
        assert changes.of("pool_wait_seconds_count") == {}
        for use in (pid_in_transaction, pid_in_autocommit):
            with pytest.raises(Unavailable):
                await use(database)
    await database.close()
    assert changes.of("pool_wait_seconds_count") == {(): 2}


async def test_connections_are_had_in_the_order_in_which_they_are_asked_for(
    database_url: str,
) -> None:
    database, order = Database(database_url, 3 + PLACES), list[int]()

    async def use(name: int) -> None:
        for _ in range(ROUNDS):
            async with database.transaction() as tx:
                await tx.execute(text("SELECT 1"))
            order.append(name)

    await asyncio.gather(*(use(name) for name in range(PLACES)))  # all are opened
    order.clear()
    await asyncio.gather(*(use(name) for name in range(USERS)))
    await database.close()
    had, ahead = Counter(dict.fromkeys(range(USERS), 0)), 0
    for name in order[: USERS * ROUNDS // 2]:  # while all still ask
        had[name] += 1
        ahead = max(ahead, had[name] - min(had.values()))
    assert ahead < PLACES, "nobody has turns that others wait for; some are still under way"


async def test_a_transaction_that_is_broken_off_at_its_end_ends_its_session(
    proxied_database: tuple[str, TcpProxy],
) -> None:
    """Nobody knows whether it was committed, and nobody else may go on in it."""
    url, proxy = proxied_database

    async def commit_into_silence(used: Database) -> None:
        async with used.transaction() as tx:
            await tx.execute(INSERT_ACCOUNT, {"id": "a"})
            proxy.blackhole()

    async with open_database(url) as database:
        before = await pid_in_transaction(database)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await commit_into_silence(database)
        async with asyncio.timeout(SOON):
            assert await pid_in_transaction(database) != before


async def test_a_statement_that_is_broken_off_is_given_up_by_postgres_too(
    resources: Resources,
) -> None:
    async def look_up() -> None:
        async with resources.database.transaction() as tx:
            await api_keys.account_id_by_name(tx, "a")

    async def nobody_waits() -> bool:
        return await holder.scalar(WAITING) is None

    async with resources.database.transaction() as holder:
        await holder.execute(text("LOCK TABLE accounts"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await look_up()
        await wait_until(nobody_waits, SOON)


async def test_one_that_is_not_waited_for_while_it_is_checked_is_ended(
    proxied_database: tuple[str, TcpProxy],
) -> None:
    url, proxy = proxied_database
    async with open_database(url, PoolTimeouts(check_after=0, check=SOON)) as database:
        async with database.autocommit() as tx:
            before = await tx.scalar(BACKEND_PID)
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pid_in_autocommit(database)
        assert tx._driver.is_closed()  # noqa: SLF001 - no other way to it
        assert await pid_in_autocommit(database) != before


async def test_a_pool_that_is_closed_ends_what_is_in_use_when_it_is_put_back(
    database_url: str,
) -> None:
    database = Database(database_url)
    await pid_in_autocommit(database)  # one lies idle
    async with database.autocommit() as tx:
        pid = int(await tx.scalar(BACKEND_PID))
        await database.close()
        assert int(await tx.scalar(BACKEND_PID)) == pid
    assert tx._driver.is_closed()  # noqa: SLF001 - no other way to it


async def test_one_that_is_forgotten_does_not_hold_up_the_end(
    proxied_database: tuple[str, TcpProxy],
) -> None:
    url, proxy = proxied_database
    async with asyncio.timeout(SOON):
        async with open_database(url, PoolTimeouts(check=0.2)) as database:
            await pid_in_autocommit(database)
            proxy.blackhole()
