"""Redis: whether jobs can be taken from it, and which jobs are read."""

import asyncio
import pickle
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from arq.connections import ArqRedis, create_pool
from arq.jobs import serialize_job

from service import job_queue
from service.job_queue import reachable, read_job, redis_settings
from service.local.server import Server
from service.local.valkey import valkey
from service.settings import Settings
from tests.support.tcp_proxy import tcp_proxy
from tests.support.waiting import wait_until

NAME = "a queue of the test's own"


@pytest.fixture
async def redis(valkey_server: Server) -> AsyncIterator[ArqRedis]:
    """An empty Redis, read and written directly."""
    pool = await create_pool(redis_settings(valkey_server.url), default_queue_name=NAME)
    await pool.flushall()
    yield pool
    await pool.aclose()


async def test_a_redis_that_is_away_or_hangs_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "REDIS_TIMEOUT", 0.2)
    with valkey(tmp_path / "valkey") as server:
        assert await reachable(server.url, NAME)
        server.kill()
        assert not await reachable(server.url, NAME)
        server.start()
        assert await reachable(server.url, NAME)
        server.child.send(signal.SIGSTOP)
        assert not await reachable(server.url, NAME)
        server.child.send(signal.SIGCONT)
        assert await reachable(server.url, NAME)


async def test_a_redis_that_shows_no_queue_cannot_be_reached(
    valkey_server: Server, redis: ArqRedis
) -> None:
    user: dict[str, Any] = {"username": "l@mited", "enabled": True, "keys": ["others"]}
    await redis.acl_setuser(**user, passwords=["+p@ss/w#rd?"], categories=["+@all"])
    url = f"redis://l%40mited:p%40ss%2Fw%23rd%3F@{valkey_server.url.removeprefix('redis://')}"
    assert not await reachable(url, "ours")
    await redis.acl_setuser("l@mited", enabled=True, keys=["ours"])
    assert await reachable(url, "ours")
    await redis.acl_deluser("l@mited")


async def test_no_connection_is_left_open(valkey_server: Server, redis: ArqRedis) -> None:
    before = len(await redis.client_list())
    assert all(await asyncio.gather(*(reachable(valkey_server.url, NAME) for _ in range(5))))

    async def closed() -> bool:
        return len(await redis.client_list()) == before

    await wait_until(closed)


async def test_a_socket_and_the_number_of_a_database_are_taken(
    valkey_server: Server, redis: ArqRedis
) -> None:
    await redis.set(NAME, "no queue")
    port = urlsplit(valkey_server.url).port
    assert port
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "of redis"
        async with tcp_proxy(port, path):
            assert not await reachable(f"unix://{quote(str(path))}", NAME)
            assert await reachable(f"unix://{quote(str(path))}?db=7", NAME)


def test_the_queue_is_called_callsheet() -> None:
    """By that name other back ends enqueue their jobs."""
    (queue_name,) = [field for field in fields(Settings) if field.name == "queue_name"]
    assert queue_name.metadata["default"] == "callsheet"


def test_a_job_as_arq_writes_it_is_read() -> None:
    raw = serialize_job("create_subject", ("acme", {"a": [1.5, None]}), {"k": b"v"}, None, 7)
    assert read_job(raw) == {
        "t": None,
        "f": "create_subject",
        "a": ("acme", {"a": [1.5, None]}),
        "k": {"k": b"v"},
        "et": 7,
    }


class Evil:
    """Makes a file, if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_job_that_names_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    raw = serialize_job("create_subject", (Evil(target),), {}, None, 7)
    with pytest.raises(pickle.UnpicklingError, match="plain values only"):
        read_job(raw)
    assert not target.exists()
    pickle.loads(raw)  # noqa: S301 - what arq's own reader would do
    assert target.exists()


@pytest.mark.parametrize(
    "job",
    [
        [],
        {},
        {"t": 1, "f": 7, "a": (), "k": {}, "et": 1},
        {"t": 1, "f": "x", "a": "args", "k": {}, "et": 1},
        {"t": 1, "f": "x", "a": (), "k": [], "et": 1},
        {"t": "1", "f": "x", "a": (), "k": {}, "et": 1},
        {"t": 1, "f": "x", "a": (), "k": {}, "et": None},
        {"t": 1, "f": "x", "a": (), "k": {}, "et": 10**15},
    ],
)
def test_what_is_no_job_is_refused(job: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="not a job"):
        read_job(pickle.dumps(job))
