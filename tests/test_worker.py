"""The worker: woken at once, by whoever may; up while Redis or Postgres is not; ended in order."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from arq import Retry
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import job_key_prefix, retry_key_prefix
from arq.jobs import ResultNotFound
from structlog.typing import EventDict

from service import worker
from service.local.ports import free_port
from service.local.valkey import valkey
from service.queue import Queue, Work, doorbell, redis_settings
from service.settings import Settings
from service.steps import enter, intake, reconcile
from service.steps.queues import Queues
from service.store.database import Database
from service.wiring import open_resources, utc_now
from service.worker import connected_for_ever, create_subject, make_drains
from tests.calling import eventually, fetch
from tests.conftest import Api
from tests.local.simulating import Receiver, Remote, until
from tests.make import a_request

NEVER = 3600.0  # seconds: the timers are as good as switched off
OFTEN = 0.05
DAY = 86_400  # seconds
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is tried again at once."""
    monkeypatch.setattr(worker, "RECONNECT_DELAY", 0.01)


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[ArqRedis]:
    """As another back end would open it, with arq's own defaults."""
    pool = await create_pool(
        RedisSettings.from_dsn(settings.redis_url), default_queue_name=settings.queue_name
    )
    yield pool
    await pool.aclose()


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """A worker in this process, and the event that stops it."""
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await running


async def listening(settings: Settings) -> None:
    """Wait until a worker hears the doorbell."""
    pool = await create_pool(redis_settings(settings.redis_url))
    bell = doorbell(settings.queue_name)

    async def heard() -> bool:
        return bool((await pool.pubsub_numsub(bell))[0][1])

    try:
        await eventually(heard)
    finally:
        await pool.aclose()


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]


def untimed(api: Api) -> Settings:
    return replace(api.resources.settings, sweep=NEVER)


async def test_a_wake_alone_carries_a_subject_to_its_end(api: Api, subscriber: Receiver) -> None:
    await api.subscribe(subscriber.url)
    settings = untimed(api)
    async with working(settings):
        await listening(settings)
        ended = await api.ended((await api.create())["id"])
        await until(lambda: len(subscriber.got) == ended["version"])
    assert ended["state"] == "succeeded"
    assert await api.violations() == []


async def test_a_job_left_by_a_wake_that_nobody_heard_is_taken(api: Api, redis: ArqRedis) -> None:
    settings = untimed(api)
    async with working(settings):
        await listening(settings)
        unheard = replace(api.resources, queue=Queue(settings.redis_url, "nobody's"))
        account = (await fetch(api.resources, "SELECT id FROM accounts"))[0]["id"]
        accepted = await intake.accept(unheard, account, a_request())
        await redis.enqueue_job(Work.SUBMIT.value, accepted.subject.id)
        assert (await api.ended(accepted.subject.id))["state"] == "succeeded"

        async def taken() -> bool:
            return not await redis.zcard(settings.queue_name)

        await eventually(taken)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was put off is run again at once."""
    monkeypatch.setattr(enter, "FULL_FOR", OFTEN)
    monkeypatch.setattr(worker, "AWAY_FOR", OFTEN)


async def put_off(redis: ArqRedis, job_id: str, logged: list[EventDict], times: int) -> None:
    """Wait until this job was put off so many times more."""

    def count() -> int:
        return len([one for one in logged if one.get("action") == "job_put_off"])

    before = count()
    await until(lambda: count() >= before + times)
    assert await redis.exists(job_key_prefix + job_id)


async def test_a_job_waits_however_long_the_queue_is_full_and_is_made_once_there_is_room(
    api: Api, redis: ArqRedis, impatient: None, logged: list[EventDict]
) -> None:
    """Nobody may be there to hear that it was refused."""
    _ = impatient
    first = await api.create()
    settings = replace(untimed(api), queued_per_account=1, provider_parallel=1)
    await fetch(
        api.resources, "UPDATE provider_state SET stopped_code = 1102, next_probe_at = $1", LATER
    )
    async with working(settings):
        job = await redis.enqueue_job("create_subject", "acme", a_request())
        assert job is not None
        await put_off(redis, job.job_id, logged, 1)
        await redis.set(retry_key_prefix + job.job_id, worker.MAX_TRIES - 1)
        await put_off(redis, job.job_id, logged, 3)
        await api.http.post(f"/v1/subjects/{first['id']}/cancel")
        result = await job.result(timeout=10, poll_delay=0.01)
    assert result["subject"]["state"] == "queued"


async def test_a_job_waits_however_long_postgres_is_away(
    api: Api, redis: ArqRedis, impatient: None, logged: list[EventDict]
) -> None:
    _ = impatient
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    resources = replace(api.resources, database=away)
    taking = partial(worker.take_jobs, resources, make_drains(resources))
    running = asyncio.create_task(connected_for_ever(resources, taking))
    job = await redis.enqueue_job("create_subject", "acme", a_request())
    assert job is not None
    await put_off(redis, job.job_id, logged, 1)
    await redis.set(retry_key_prefix + job.job_id, worker.MAX_TRIES - 1)
    await put_off(redis, job.job_id, logged, 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await away.close()
    async with working(untimed(api)):
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)


async def test_a_job_that_postgres_keeps_waiting_is_put_off_before_its_time_is_up(
    api: Api,
    redis: ArqRedis,
    impatient: None,
    logged: list[EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = impatient
    monkeypatch.setattr(worker, "CREATE_TIME", OFTEN)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    async with working(untimed(api)):
        async with connection.transaction():
            await connection.execute("LOCK TABLE subjects IN ACCESS EXCLUSIVE MODE")
            job = await redis.enqueue_job("create_subject", "acme", a_request())
            assert job is not None
            await put_off(redis, job.job_id, logged, 2)
        await connection.close()
        monkeypatch.setattr(worker, "CREATE_TIME", 10.0)
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
async def test_a_job_that_is_put_off_does_not_expire_unless_it_was_given_less_than_a_day(
    api: Api, redis: ArqRedis, lifetime: int, left: int, then: int
) -> None:
    resources = replace(api.resources, queues=Queues(0))
    enqueued = utc_now() - timedelta(seconds=lifetime - left)
    context = {"job_id": f"{lifetime}-{left}", "redis": redis, "enqueue_time": enqueued}
    key = job_key_prefix + f"{lifetime}-{left}"
    await redis.set(key, b"a job", ex=left)
    with pytest.raises(Retry):
        await create_subject(resources, context, "acme", a_request())
    assert then - 30 < await redis.ttl(key) <= then


async def test_a_job_that_never_expires_goes_on_not_to(api: Api, redis: ArqRedis) -> None:
    resources = replace(api.resources, queues=Queues(0))
    enqueued = utc_now() - timedelta(days=3)
    context = {"job_id": "for ever", "redis": redis, "enqueue_time": enqueued}
    await redis.set(job_key_prefix + "for ever", b"a job")
    with pytest.raises(Retry):
        await create_subject(resources, context, "acme", a_request())
    assert await redis.ttl(job_key_prefix + "for ever") == -1


async def test_a_job_that_ends_its_worker_each_time_is_given_up_after_so_many_starts(
    api: Api, redis: ArqRedis
) -> None:
    """What was put off is not counted among them, so that is not what this bounds."""
    job = await redis.enqueue_job("create_subject", "acme", a_request())
    assert job is not None
    await redis.set(retry_key_prefix + job.job_id, worker.MAX_TRIES)
    async with working(untimed(api)):
        with pytest.raises(ResultNotFound):
            await job.result(timeout=10, poll_delay=0.01)
    assert await fetch(api.resources, "SELECT id FROM subjects") == []


async def test_a_request_that_another_back_end_enqueues_is_accepted_once(
    api: Api, redis: ArqRedis
) -> None:
    results = []
    async with working(untimed(api)):
        for _ in range(2):
            job = await redis.enqueue_job("create_subject", "acme", a_request(), _job_id="one")
            assert job is not None
            results.append(await job.result(timeout=10, poll_delay=0.01))
            await redis.delete("arq:result:one")
        first, second = (result["subject"] for result in results)
        assert (await api.ended(first["id"]))["element_name"] == "Ada"
    assert first["id"] == second["id"]
    assert len(await fetch(api.resources, "SELECT id FROM subjects")) == 1


async def test_what_is_wrong_with_an_enqueued_request_is_its_result(
    api: Api, redis: ArqRedis, tmp_path: Path
) -> None:
    target = tmp_path / "touched"
    async with working(untimed(api)):
        codes = []
        for account, request in (
            ("acme", a_request(element_name="")),
            ("nobody", a_request()),
            ("acme", None),
            (None, a_request()),
        ):
            job = await redis.enqueue_job("create_subject", account, request)
            assert job is not None
            error = (await job.result(timeout=10, poll_delay=0.01))["error"]
            codes.append((error["code"], [one["pointer"] for one in error.get("errors", [])]))
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


async def test_it_stays_up_while_redis_is_killed_and_started_again(
    api: Api, tmp_path: Path, logged: list[EventDict]
) -> None:
    with valkey(tmp_path / "valkey") as server:
        settings = replace(api.resources.settings, redis_url=server.url, sweep=OFTEN)
        async with working(settings):
            await listening(settings)
            server.kill()
            await until(lambda: "redis_away" in actions(logged))
            subject = await api.create()
            assert (await api.ended(subject["id"]))["state"] == "succeeded", "by the timers"
            server.start()
            await listening(settings)


async def test_it_can_be_stopped_while_redis_hangs(api: Api, tmp_path: Path) -> None:
    with valkey(tmp_path / "valkey") as server:
        settings = replace(api.resources.settings, redis_url=server.url)
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(settings, stop))
        await listening(settings)
        server.child.send(signal.SIGSTOP)
        stop.set()
        _, pending = await asyncio.wait([running], timeout=10)
        server.child.send(signal.SIGCONT)
        await asyncio.wait([running], timeout=10)
    assert not pending


async def test_nonsense_on_the_doorbell_is_passed_over(api: Api, redis: ArqRedis) -> None:
    settings = untimed(api)
    async with working(settings):
        await listening(settings)
        unheard = replace(api.resources, queue=Queue(settings.redis_url, "nobody's"))
        account = (await fetch(api.resources, "SELECT id FROM accounts"))[0]["id"]
        accepted = await intake.accept(unheard, account, a_request())
        await redis.publish(doorbell(settings.queue_name), b"\xff,nonsense,submit")
        assert (await api.ended(accepted.subject.id))["state"] == "succeeded"


async def test_what_arq_cannot_read_is_dropped(
    api: Api, redis: ArqRedis, logged: list[EventDict]
) -> None:
    settings = untimed(api)
    await redis.zadd(settings.queue_name, {b"\xff\xfe": 1})
    async with working(settings):
        await until(lambda: "job_dropped" in actions(logged))
        job = await redis.enqueue_job("create_subject", "acme", a_request())
        assert job is not None
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)


async def test_a_connection_is_used_again_whatever_ended_its_use(
    settings: Settings, logged: list[EventDict]
) -> None:
    uses = 0

    async def use(_pool: ArqRedis) -> None:
        nonlocal uses
        uses += 1
        raise LookupError

    async with open_resources(settings) as resources:
        using = asyncio.create_task(connected_for_ever(resources, use))
        await until(lambda: uses > 2)
        using.cancel()
    assert set(actions(logged)) == {"redis_unusable"}


async def test_it_stays_up_while_postgres_is_away(
    settings: Settings, logged: list[EventDict]
) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/x"
    async with working(replace(settings, database_url=url, sweep=OFTEN)):
        await until(lambda: {"sweep_failed", "unavailable"} <= set(actions(logged)))
    assert logged[-1]["action"] == "stopped"


async def test_a_sweep_that_fails_is_made_again(api: Api, logged: list[EventDict]) -> None:
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")
    settings = replace(api.resources.settings, sweep=OFTEN)
    sweeping = asyncio.create_task(
        worker.sweep_for_ever(replace(api.resources, settings=settings), reconcile.sweep)
    )
    await until(lambda: actions(logged).count("fault") > 1)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    logged.clear()


async def test_what_is_under_way_is_recorded_before_it_stops(api: Api, provider: Remote) -> None:
    await provider.admin("faults", {"delay": 0.3, "lose": True, "processing_after": 600})
    subject = await api.create()
    async with working(untimed(api)):

        async def received() -> bool:
            return bool((await provider.ledger(subject["id"]))["creates"])

        await eventually(received)
        assert (await api.read(subject["id"]))["state"] == "submitting"
    assert (await api.read(subject["id"]))["state"] == "submitted"


async def test_old_things_are_forgotten_while_redis_is_away(api: Api) -> None:
    await api.http.post("/v1/subjects", json=a_request(), headers={"idempotency-key": "key"})
    await fetch(api.resources, "UPDATE idempotency_keys SET created_at = '2020-01-01Z'")
    nobody = f"redis://127.0.0.1:{free_port()}/0"

    async def forgotten() -> bool:
        return not await fetch(api.resources, "SELECT key FROM idempotency_keys")

    async with working(replace(api.resources.settings, redis_url=nobody)):
        await eventually(forgotten)


async def test_a_sweep_that_fails_keeps_none_of_the_others_from_being_made(
    api: Api, logged: list[EventDict]
) -> None:
    await api.http.post("/v1/subjects", json=a_request(), headers={"idempotency-key": "key"})
    await fetch(api.resources, "UPDATE idempotency_keys SET created_at = '2020-01-01Z'")
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")

    async def forgotten() -> bool:
        return not await fetch(api.resources, "SELECT key FROM idempotency_keys")

    async with working(replace(api.resources.settings, sweep=OFTEN)):
        await eventually(forgotten)
        await until(lambda: "fault" in actions(logged))
    logged.clear()
