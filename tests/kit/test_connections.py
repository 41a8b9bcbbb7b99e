"""Connections: given up when they are forgotten, too old, or can only read, and soon replaced."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

import pytest
import uvloop
from sqlalchemy import ClauseElement, literal, select, text

from service.kit.database import connection as database_connection
from service.kit.database.connect import connect
from service.kit.database.database import Database
from service.kit.database.listen import listen
from service.kit.database.migrate import migrate
from service.kit.database.pool import PoolTimeouts
from service.kit.errors import Unavailable
from service.local.server import Server
from tests.conftest import execute
from tests.support.database_access import (
    BACKEND_PID,
    READ_ONLY,
    WRITABLE,
    ReadBackendPid,
    each_connection_kind,
    insert_in_autocommit,
    insert_in_relaxed,
    insert_in_transaction,
    open_database,
    pid_in_autocommit,
    pid_in_relaxed,
    pid_in_transaction,
)
from tests.support.tcp_proxy import TcpProxy

SOON = 5.0  # seconds; far from the 45 that a statement may take
CHECKED = PoolTimeouts(check_after=0, check=0.2)  # as if every connection had lain idle


@each_connection_kind
async def test_a_connection_that_was_forgotten_while_idle_costs_seconds(
    proxied_database: tuple[str, TcpProxy], use: ReadBackendPid
) -> None:
    url, proxy = proxied_database
    async with open_database(url, CHECKED) as database:
        before = await use(database)
        proxy.blackhole()
        async with asyncio.timeout(SOON):
            assert await use(database) != before


async def test_all_connections_forgotten_at_once_cost_no_more(
    proxied_database: tuple[str, TcpProxy],
) -> None:
    url, proxy = proxied_database
    async with open_database(url, CHECKED) as database:
        before = await asyncio.gather(*(pid_in_transaction(database) for _ in range(8)))
        proxy.blackhole()
        async with asyncio.timeout(SOON):
            after = await asyncio.gather(*(pid_in_transaction(database) for _ in range(8)))
    assert not set(before) & set(after)


@each_connection_kind
async def test_an_idle_connection_that_answers_is_used_again(
    database_url: str, use: ReadBackendPid
) -> None:
    async with open_database(database_url, CHECKED) as database:
        assert await use(database) == await use(database)


@each_connection_kind
async def test_a_connection_is_replaced_at_a_certain_age(
    database_url: str, use: ReadBackendPid
) -> None:
    async with open_database(database_url) as database:
        assert await use(database) == await use(database)
    async with open_database(database_url, PoolTimeouts(max_age=0)) as database:
        assert await use(database) != await use(database)


@each_connection_kind
async def test_a_connection_that_is_closed_while_idle_is_replaced_unnoticed(
    database_url: str, use: ReadBackendPid
) -> None:
    async with open_database(database_url) as database:
        pid = await use(database)
        await execute(database_url, f"SELECT pg_terminate_backend({pid}, 5000)")
        assert await use(database) != pid


@pytest.mark.parametrize("loop", [asyncio, uvloop], ids=["asyncio", "uvloop"])
def test_both_ends_look_whether_the_other_is_there(
    postgres_server: Server, loop: ModuleType
) -> None:
    async def options() -> tuple[list[int], list[str]]:
        connection = await connect(postgres_server.url)
        try:
            own = connection._transport.get_extra_info("socket")  # noqa: SLF001 - no other way to it
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            known = [getattr(socket, name) for name in names if hasattr(socket, name)]
            ours = [own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
            ours += [own.getsockopt(socket.IPPROTO_TCP, option) for option in known]
            settings = ("idle", "interval", "count")
            theirs = [
                await connection.fetchval(f"SHOW tcp_keepalives_{setting}") for setting in settings
            ]
            return ours, theirs
        finally:
            await connection.close()

    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        ours, theirs = runner.run(options())
    assert ours == [1, 10, 5, 3, 15_000][: len(ours)]
    assert theirs == ["10", "5", "3"]


@pytest.mark.parametrize("write", [insert_in_transaction, insert_in_autocommit, insert_in_relaxed])
async def test_a_session_that_can_only_read_is_let_go_of(
    postgres_server: Server, database_url: str, write: Callable[[Database, str], Awaitable[None]]
) -> None:
    name = database_url.rpartition("/")[2]
    async with open_database(database_url) as database:
        await execute(postgres_server.url, READ_ONLY.format(name))
        with pytest.raises(Unavailable):
            await write(database, "too early")
        await execute(postgres_server.url, WRITABLE.format(name))
        await write(database, "in time")


async def test_a_database_that_is_closed_is_unavailable_and_comes_back(
    postgres_server: Server, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    async with open_database(database_url) as database:
        pid = await pid_in_transaction(database)
        await execute(postgres_server.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(postgres_server.url, f"SELECT pg_terminate_backend({pid}, 5000)")
        for use in (pid_in_transaction, pid_in_autocommit, pid_in_relaxed):
            with pytest.raises(Unavailable):
                await use(database)
        with pytest.raises(Unavailable):
            await listen(database_url, "c", lambda _: None)
        with pytest.raises(Unavailable):
            await asyncio.to_thread(migrate, database_url)
        await execute(postgres_server.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        for use in (pid_in_transaction, pid_in_autocommit, pid_in_relaxed):
            assert await use(database)


Connect = Callable[[], AbstractAsyncContextManager[Any]]


async def test_errors_that_are_not_of_postgres_stay_what_they_are(database_url: str) -> None:
    async def fail(connection: Connect, error: Exception) -> None:
        async with connection() as tx:
            await tx.execute(BACKEND_PID, {})
            raise error

    async with open_database(database_url) as database:
        for connection in (database.transaction, database.autocommit, database.relaxed):
            for error in (OSError("a disk"), TimeoutError("of another's"), ConnectionError("cut")):
                with pytest.raises(type(error)) as caught:
                    await fail(connection, error)
                assert caught.value is error


async def test_a_statement_is_compiled_once_whatever_its_values_are(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{number}" for number in range(100)]
    compiled: list[object] = []
    whole = ClauseElement.compile

    def counting(self: ClauseElement, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        compiled.append(self)
        return whole(self, *given, **named)

    monkeypatch.setattr(ClauseElement, "compile", counting)
    async with open_database(database_url) as database, database.autocommit() as tx:
        for _ in range(2):
            for name in names:
                assert await tx.scalar(text(f"SELECT 1 AS {name}")) == 1
                assert await tx.scalar(select(literal(name))) == name
    assert len(compiled) == len(names) + 1


async def test_what_is_kept_of_statements_has_a_bound(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_connection, "MAX_COMPILED", 3)
    async with open_database(database_url) as database, database.autocommit() as tx:
        for number in range(10):
            assert await tx.scalar(text(f"SELECT {number}")) == number
            assert len(database_connection._compiled) <= 3  # noqa: SLF001 - no other way to it


async def test_a_connection_that_breaks_in_use_is_unavailable(
    proxied_database: tuple[str, TcpProxy],
) -> None:
    url, relayed = proxied_database

    async def ask_twice(connection: Connect, *, cut: bool) -> None:
        async with connection() as tx:
            await tx.execute(BACKEND_PID, {})
            if cut:
                relayed.reset()
            await tx.execute(BACKEND_PID, {})

    async with open_database(url) as database:
        for connection in (database.transaction, database.autocommit, database.relaxed):
            with pytest.raises(Unavailable):
                await ask_twice(connection, cut=True)
            await ask_twice(connection, cut=False)


async def test_a_parameter_of_a_wrong_type_is_a_fault_and_no_outage(database_url: str) -> None:
    async with open_database(database_url) as database:
        with pytest.raises(Exception, match="invalid input for query argument") as caught:
            async with database.transaction() as tx:
                await tx.execute(text("SELECT CAST(:n AS int)"), {"n": "no number"})
    assert not isinstance(caught.value, Unavailable)
