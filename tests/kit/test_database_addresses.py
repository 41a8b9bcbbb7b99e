"""Addresses of Postgres: several hosts, sockets, and names and passwords of any characters."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from service.kit.database.pool import PoolTimeouts
from service.local.ports import free_port
from service.local.postgres import postgres
from service.local.server import Server
from tests.conftest import execute
from tests.support.database_access import (
    READ_ONLY,
    open_all_connection_kinds,
    open_database,
    pid_in_transaction,
)
from tests.support.tcp_proxy import tcp_proxy


@pytest.fixture(scope="module")
def other_server(
    postgres_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A second one with the same user and password."""
    with postgres(tmp_path_factory.mktemp("other"), durable=False, keep=False) as server:
        password = urlsplit(postgres_server.url).password
        asyncio.run(execute(server.url, f"ALTER USER callsheet PASSWORD '{password}'"))
        yield server


async def test_of_several_hosts_the_one_that_can_write_is_taken(
    other_server: Server, database_url: str
) -> None:
    parts, other = urlsplit(database_url), urlsplit(other_server.url)
    name = parts.path.removeprefix("/")
    shared = other_server.url.replace(other.password or "", parts.password or "")
    await execute(shared, f"CREATE DATABASE {name}")
    await execute(shared, READ_ONLY.format(name))
    user = parts.netloc.rpartition("@")[0]
    hosts = f"127.0.0.1:{free_port()},{other.hostname}:{other.port},{parts.hostname}:{parts.port}"
    await open_all_connection_kinds(
        f"postgresql://{user}@{hosts}/{name}?target_session_attrs=read-write"
    )
    listed = f"host=127.0.0.1,127.0.0.1&port={other.port},{parts.port}"
    await open_all_connection_kinds(
        f"postgres://{user}@/{name}?{listed}&target_session_attrs=read-write"
    )


async def test_a_host_that_says_nothing_leaves_time_for_the_next(database_url: str) -> None:
    parts = urlsplit(database_url)
    user, _, place = parts.netloc.rpartition("@")
    assert parts.port
    async with tcp_proxy(parts.port) as way:
        way.blackhole_all = True
        url = f"postgresql://{user}@127.0.0.1:{way.port},{place}{parts.path}"
        async with open_database(url, PoolTimeouts(connect=0.3)) as database:
            assert await pid_in_transaction(database)
        assert way.connections


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path that is short enough for a socket's, which has about 100 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


async def test_a_socket_in_a_folder_is_taken(database_url: str, folder: Path) -> None:
    parts = urlsplit(database_url)
    user = parts.netloc.rpartition("@")[0]
    assert parts.port
    async with tcp_proxy(parts.port, folder / ".s.PGSQL.5432") as way:
        await open_all_connection_kinds(f"postgresql://{user}@{parts.path}?host={folder}")
        await open_all_connection_kinds(
            f"postgresql://{user}@{quote(str(folder), safe='')}{parts.path}"
        )
    assert way.connections


async def test_a_user_and_a_password_of_special_characters_are_taken(
    postgres_server: Server, database_url: str
) -> None:
    user, password = "we@ird:user/%41", "p@ss/w#rd?:%[41]"
    await execute(
        postgres_server.url, f"CREATE ROLE \"{user}\" SUPERUSER LOGIN PASSWORD '{password}'"
    )
    place = database_url.rpartition("@")[2]
    try:
        await open_all_connection_kinds(
            f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{place}"
        )
    finally:
        await execute(database_url, f'DROP OWNED BY "{user}"')
        await execute(postgres_server.url, f'DROP ROLE "{user}"')
