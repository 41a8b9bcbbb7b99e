"""Waking: at once where somebody listens, for nothing where nobody does, and never in the way."""

import asyncio
import pickle
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from arq.connections import ArqRedis, create_pool
from arq.jobs import serialize_job
from structlog.typing import EventDict

from service import job_queue
from service.job_queue import WorkerNotifier, read_job, redis_settings, wake_channel
from service.local.ports import free_port
from service.local.server import Server
from service.local.valkey import valkey
from service.settings import Settings
from service.subjects.domain.work import Work
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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is tried again at once, and given up on soon."""
    monkeypatch.setattr(job_queue, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(job_queue, "REDIS_TIMEOUT", 0.2)


@asynccontextmanager
async def wakes(redis: ArqRedis) -> AsyncIterator[Callable[[], Any]]:
    """A subscriber of the wake channel: each call waits for its next message."""
    async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(wake_channel(NAME))
        await pubsub.get_message(timeout=5)
        yield lambda: anext(aiter(pubsub.listen()))


def lost(logged: list[EventDict]) -> int:
    return len([line for line in logged if line.get("action") == "wake_lost"])


async def test_a_wake_reaches_whoever_listens_and_leaves_nothing_behind(
    valkey_server: Server, redis: ArqRedis
) -> None:
    async with WorkerNotifier(valkey_server.url, NAME) as notifier, wakes(redis) as next_wake:
        for work in Work:
            notifier.wake(work)
            assert (await next_wake())["data"] == work.encode()
        assert await redis.keys() == []


async def test_wakes_that_gather_are_sent_together(valkey_server: Server, redis: ArqRedis) -> None:
    async with WorkerNotifier(valkey_server.url, NAME) as notifier, wakes(redis) as next_wake:
        for work in (Work.SUBMIT, Work.DELIVER, Work.SUBMIT):
            notifier.wake(work)
        assert set((await next_wake())["data"].split(b",")) == {b"submit", b"deliver"}


def test_what_is_published_stays_as_it_is() -> None:
    """A process of another release wakes and is woken by these."""
    assert {work.name: work.value for work in Work} == {
        "CHECK_MEDIA": "check_media",
        "SUBMIT": "submit",
        "RECONCILE": "reconcile",
        "DELIVER": "deliver",
    }
    (queue_name,) = [field for field in fields(Settings) if field.name == "queue_name"]
    assert queue_name.metadata["default"] == "callsheet"
    assert wake_channel("callsheet") == "callsheet:doorbell"


async def test_this_process_gets_its_own_wakes_without_redis() -> None:
    wakes: list[Work] = []
    async with WorkerNotifier(f"redis://127.0.0.1:{free_port()}/0", NAME) as notifier:
        notifier.listen(wakes.append)
        notifier.wake(Work.RECONCILE)
        assert wakes == [Work.RECONCILE]


async def test_wakes_while_redis_is_away_are_dropped_and_block_nobody(
    tmp_path: Path, impatient: None, logged: list[EventDict]
) -> None:
    _ = impatient
    with valkey(tmp_path / "valkey") as server:
        async with WorkerNotifier(server.url, NAME) as notifier:
            assert await notifier.reachable()
            server.kill()
            assert not await notifier.reachable()
            notifier.wake(Work.SUBMIT)
            await wait_until(lambda: lost(logged) > 0)
            server.start()
            assert await notifier.reachable()
            async with await _pool(server) as back, wakes(back) as next_wake:
                notifier.wake(Work.DELIVER)
                message = await next_wake()
                assert message["data"] == b"deliver", "what was lost is not sent later"


async def test_a_redis_that_hangs_counts_as_unreachable(
    tmp_path: Path, impatient: None, logged: list[EventDict]
) -> None:
    _ = impatient
    with valkey(tmp_path / "valkey") as server:
        async with WorkerNotifier(server.url, NAME) as notifier:
            assert await notifier.reachable()
            server.child.send(signal.SIGSTOP)
            assert not await notifier.reachable()
            notifier.wake(Work.SUBMIT)
            await wait_until(lambda: lost(logged) > 0)
            server.child.send(signal.SIGCONT)
            assert await notifier.reachable()


async def _pool(server: Server) -> ArqRedis:
    return await create_pool(redis_settings(server.url), default_queue_name=NAME)


async def test_all_connections_are_closed_at_the_end(
    valkey_server: Server, redis: ArqRedis
) -> None:
    before = len(await redis.client_list())
    async with WorkerNotifier(valkey_server.url, NAME) as notifier:
        notifier.wake(Work.SUBMIT)
        assert all(await asyncio.gather(*(notifier.reachable() for _ in range(5))))
        assert len(await redis.client_list()) > before

    async def closed() -> bool:
        return len(await redis.client_list()) == before

    await wait_until(closed)


async def test_a_socket_and_the_number_of_a_database_are_taken(
    valkey_server: Server, redis: ArqRedis
) -> None:
    port = urlsplit(valkey_server.url).port
    assert port
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "of redis"
        async with (
            tcp_proxy(port, path),
            WorkerNotifier(f"unix://{quote(str(path))}?db=7", NAME) as notifier,
        ):
            assert await notifier.reachable()
            assert "7" in {client["db"] for client in await redis.client_list()}


async def test_a_notifier_that_was_never_opened_can_be_closed() -> None:
    notifier = WorkerNotifier("redis://127.0.0.1:1/0", NAME)
    await notifier.__aexit__()


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
