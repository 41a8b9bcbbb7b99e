"""The arq job create_subject: deferred for as long as it must be, and creates once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from arq import Retry
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, retry_key_prefix
from arq.jobs import ResultNotFound
from structlog.typing import EventDict

from service import jobs
from service.intake.cache.queue_limit import QueueLimit
from service.intake.steps import accept
from service.jobs import create_subject
from service.kit.database.database import Database
from service.local.ports import free_port
from service.local.server import Server
from service.wiring import utc_now
from service.worker import take_jobs
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.waiting import wait_until
from tests.support.worker import running_worker, settings_without_sweeps

SOON = 0.05
DAY = 86_400  # seconds
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deferred job is run again soon."""
    monkeypatch.setattr(accept, "QUEUE_FULL_RETRY_AFTER", SOON)
    monkeypatch.setattr(jobs, "UNAVAILABLE_RETRY_DELAY", SOON)


async def wait_until_deferred(
    redis: ArqRedis, job_id: str, logged: list[EventDict], times: int
) -> None:
    """Wait until this job was deferred so many times more."""

    def count() -> int:
        return len([line for line in logged if line.get("action") == "job_deferred"])

    before = count()
    await wait_until(lambda: count() >= before + times)
    assert await redis.exists(job_key_prefix + job_id)


async def test_a_job_waits_however_long_the_queue_is_full_and_is_made_once_there_is_room(
    api: Api, redis: ArqRedis, impatient: None, logged: list[EventDict]
) -> None:
    """Nobody may be there to hear that it was refused."""
    _ = impatient
    first = await api.create()
    settings = replace(settings_without_sweeps(api), max_queued_per_account=1, provider_parallel=1)
    await fetch(
        api.resources, "UPDATE provider_state SET stopped_code = 1102, next_probe_at = $1", LATER
    )
    async with running_worker(settings):
        job = await redis.enqueue_job("create_subject", "acme", request_body())
        assert job is not None
        await wait_until_deferred(redis, job.job_id, logged, 1)
        await redis.set(retry_key_prefix + job.job_id, jobs.MAX_TRIES - 1)
        await wait_until_deferred(redis, job.job_id, logged, 3)
        await api.http.post(f"/v1/subjects/{first['id']}/cancel")
        result = await job.result(timeout=10, poll_delay=0.01)
    assert result["subject"]["state"] == "queued"


async def test_a_job_waits_however_long_postgres_is_away(
    api: Api,
    redis: ArqRedis,
    valkey_server: Server,
    impatient: None,
    logged: list[EventDict],
) -> None:
    _ = impatient
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    resources = replace(api.resources, database=away)
    running = asyncio.create_task(take_jobs(resources, valkey_server.url))
    job = await redis.enqueue_job("create_subject", "acme", request_body())
    assert job is not None
    await wait_until_deferred(redis, job.job_id, logged, 1)
    await redis.set(retry_key_prefix + job.job_id, jobs.MAX_TRIES - 1)
    await wait_until_deferred(redis, job.job_id, logged, 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await away.close()
    async with running_worker(settings_without_sweeps(api)):
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)


async def test_a_job_that_waits_for_postgres_is_deferred_before_its_timeout(
    api: Api,
    redis: ArqRedis,
    impatient: None,
    logged: list[EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = impatient
    monkeypatch.setattr(jobs, "CREATE_TIMEOUT", SOON)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    async with running_worker(settings_without_sweeps(api)):
        async with connection.transaction():
            await connection.execute("LOCK TABLE subjects IN ACCESS EXCLUSIVE MODE")
            job = await redis.enqueue_job("create_subject", "acme", request_body())
            assert job is not None
            await wait_until_deferred(redis, job.job_id, logged, 2)
        await connection.close()
        monkeypatch.setattr(jobs, "CREATE_TIMEOUT", 10.0)
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)


@pytest.mark.parametrize(
    ("lifetime", "left", "then"),
    [
        (DAY, 60, DAY),  # arq's own: for as long as it must
        (DAY, DAY, DAY),
        (3 * DAY, 2 * DAY, 2 * DAY),
        (3 * DAY, 60, DAY),
        (3600, 60, 60),  # whoever enqueued it wants it made within the hour, or not at all
    ],
)
async def test_a_deferred_job_does_not_expire_unless_it_was_given_less_than_a_day(
    api: Api, redis: ArqRedis, lifetime: int, left: int, then: int
) -> None:
    resources = replace(api.resources, queue_limit=QueueLimit(0))
    enqueued = utc_now() - timedelta(seconds=lifetime - left)
    context = {"job_id": f"{lifetime}-{left}", "redis": redis, "enqueue_time": enqueued}
    key = job_key_prefix + f"{lifetime}-{left}"
    await redis.set(key, b"a job", ex=left)
    with pytest.raises(Retry):
        await create_subject(resources, context, "acme", request_body())
    assert then - 30 < await redis.ttl(key) <= then


async def test_a_job_without_expiry_keeps_none(api: Api, redis: ArqRedis) -> None:
    resources = replace(api.resources, queue_limit=QueueLimit(0))
    enqueued = utc_now() - timedelta(days=3)
    context = {"job_id": "for ever", "redis": redis, "enqueue_time": enqueued}
    await redis.set(job_key_prefix + "for ever", b"a job")
    with pytest.raises(Retry):
        await create_subject(resources, context, "acme", request_body())
    assert await redis.ttl(job_key_prefix + "for ever") == -1


async def test_a_job_that_kills_its_worker_each_time_is_given_up_after_some_tries(
    api: Api, redis: ArqRedis
) -> None:
    """What was put off is not counted among them, so that is not what this bounds."""
    job = await redis.enqueue_job("create_subject", "acme", request_body())
    assert job is not None
    await redis.set(retry_key_prefix + job.job_id, jobs.MAX_TRIES)
    async with running_worker(settings_without_sweeps(api)):
        with pytest.raises(ResultNotFound):
            await job.result(timeout=10, poll_delay=0.01)
    assert await fetch(api.resources, "SELECT id FROM subjects") == []


async def test_a_request_that_another_back_end_enqueues_is_accepted_once(
    api: Api, redis: ArqRedis
) -> None:
    results = []
    async with running_worker(settings_without_sweeps(api)):
        for _ in range(2):
            job = await redis.enqueue_job("create_subject", "acme", request_body(), _job_id="one")
            assert job is not None
            results.append(await job.result(timeout=10, poll_delay=0.01))
            await redis.delete("arq:result:one")
        first, second = (result["subject"] for result in results)
        assert (await api.wait_until_finished(first["id"]))["element_name"] == "Ada"
    assert first["id"] == second["id"]
    assert len(await fetch(api.resources, "SELECT id FROM subjects")) == 1


async def test_what_is_wrong_with_an_enqueued_request_is_its_result(
    api: Api, redis: ArqRedis, tmp_path: Path
) -> None:
    target = tmp_path / "touched"
    async with running_worker(settings_without_sweeps(api)):
        codes = []
        for account, request in (
            ("acme", request_body(element_name="")),
            ("nobody", request_body()),
            ("acme", None),
            (None, request_body()),
        ):
            job = await redis.enqueue_job("create_subject", account, request)
            assert job is not None
            error = (await job.result(timeout=10, poll_delay=0.01))["error"]
            codes.append((error["code"], [error["pointer"] for error in error.get("errors", [])]))
        assert codes == [
            ("invalid", ["/element_name"]),
            ("not_found", []),
            ("invalid", [""]),
            ("not_found", []),
        ]
        evil = await redis.enqueue_job("create_subject", "acme", Evil(target))
        assert evil is not None
        with pytest.raises(Exception, match=r"deserialize|not in queue"):
            await evil.result(timeout=10, poll_delay=0.01)
    assert not target.exists()
    assert await fetch(api.resources, "SELECT id FROM subjects") == []


class Evil:
    """Makes a file, if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
