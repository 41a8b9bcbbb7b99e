"""The worker: notified at once of what is committed, up while Redis or Postgres is not, ended in
order."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from structlog.typing import EventDict

from service import worker
from service.installation.steps import note_moment
from service.kit.database import listen
from service.local.ports import free_port
from service.local.server import Server
from service.local.valkey import valkey
from service.reconciliation.steps import expired_leases_and_deadlines
from service.resources import Resources
from service.settings import Settings
from service.subjects.store.work import WORK_CHANNEL
from tests.conftest import database, execute
from tests.support.api import Api
from tests.support.callbacks import accept_request
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.worker import (
    logged_actions,
    running_worker,
    settings_without_sweeps,
    wait_until_listening,
    wait_until_taking_jobs,
)

OFTEN = 0.05
KILL_LISTENERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = '{}' AND application_name = '{}'"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is tried again at once."""
    monkeypatch.setattr(worker, "RECONNECT_DELAY", 0.01)


async def test_notifications_alone_carry_a_subject_to_its_end(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    async with running_worker(settings_without_sweeps(api)):
        await wait_until_listening(api.resources)
        ended = await api.wait_until_finished((await api.create())["id"])
        await wait_until(lambda: len(subscriber.requests) == ended["version"])
    assert ended["state"] == "succeeded"
    assert await api.violations() == []


async def test_what_is_committed_while_nobody_listens_is_done_once_somebody_does(
    api: Api, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "RECONNECT_DELAY", OFTEN)
    async with running_worker(settings_without_sweeps(api)):
        await wait_until_listening(api.resources)
        (account,) = await fetch(api.resources, "SELECT id FROM accounts")
        async with nobody_listening(api.resources):
            await wait_until(lambda: "not_listening" in logged_actions(logged))
            accepted = await accept_request(api.resources, account["id"], request_body())
        assert (await api.wait_until_finished(accepted.subject.id))["state"] == "succeeded"


@asynccontextmanager
async def nobody_listening(resources: Resources) -> AsyncIterator[None]:
    """Nobody can listen while the block runs: no session can be opened, and those that listen are
    ended. Others go on."""
    url = resources.settings.database_url
    name, outside = url.rpartition("/")[2], database(url, "postgres")
    await execute(outside, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await execute(outside, KILL_LISTENERS.format(name, listen.session_name(WORK_CHANNEL)))
    try:
        yield
    finally:
        await execute(outside, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_without_redis_all_goes_on_but_the_taking_in_of_jobs(
    api: Api, tmp_path: Path, logged: list[EventDict]
) -> None:
    with valkey(tmp_path / "valkey") as server:
        settings = replace(settings_without_sweeps(api), redis_url=server.url)
        async with running_worker(settings):
            async with enqueuer(server, settings) as redis:
                await wait_until_taking_jobs(redis)
            server.kill()
            await wait_until(lambda: "redis_away" in logged_actions(logged))
            subject = await api.create()
            assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
            server.start()
            async with enqueuer(server, settings) as redis:
                job = await redis.enqueue_job("create_subject", "acme", request_body())
                assert job is not None
                result = await job.result(timeout=10, poll_delay=0.01)
            ended = await api.wait_until_finished(result["subject"]["id"])
            assert ended["state"] == "succeeded"


@asynccontextmanager
async def enqueuer(server: Server, settings: Settings) -> AsyncIterator[ArqRedis]:
    """The Redis pool of another back end on this server."""
    pool = await create_pool(
        RedisSettings.from_dsn(server.url), default_queue_name=settings.queue_name
    )
    yield pool
    await pool.aclose()


async def test_where_no_redis_is_configured_none_is_tried(
    api: Api, logged: list[EventDict]
) -> None:
    async with running_worker(replace(settings_without_sweeps(api), redis_url=None)):
        await wait_until_listening(api.resources)
        ended = await api.wait_until_finished((await api.create())["id"])
    assert ended["state"] == "succeeded"
    assert not {"redis_away", "redis_unusable"} & {*logged_actions(logged)}


async def test_it_can_be_stopped_while_redis_hangs(api: Api, tmp_path: Path) -> None:
    with valkey(tmp_path / "valkey") as server:
        settings = replace(api.resources.settings, redis_url=server.url)
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(settings, stop))
        async with enqueuer(server, settings) as redis:
            await wait_until_taking_jobs(redis)
        server.child.send(signal.SIGSTOP)
        stop.set()
        _, pending = await asyncio.wait([running], timeout=10)
        server.child.send(signal.SIGCONT)
        await asyncio.wait([running], timeout=10)
    assert not pending


async def test_nonsense_on_the_channel_is_passed_over(api: Api) -> None:
    async with running_worker(settings_without_sweeps(api)):
        await wait_until_listening(api.resources)
        await fetch(api.resources, "NOTIFY callsheet_work, 'nonsense,\u00fc'")
        assert (await api.wait_until_finished((await api.create())["id"]))["state"] == "succeeded"


async def test_what_arq_cannot_read_is_dropped(
    api: Api, redis: ArqRedis, logged: list[EventDict]
) -> None:
    settings = settings_without_sweeps(api)
    await redis.zadd(settings.queue_name, {b"\xff\xfe": 1})
    async with running_worker(settings):
        await wait_until(lambda: "job_dropped" in logged_actions(logged))
        job = await redis.enqueue_job("create_subject", "acme", request_body())
        assert job is not None
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)


async def test_an_id_that_is_no_text_beside_a_job_that_is_gone_ends_no_worker(
    api: Api, redis: ArqRedis, logged: list[EventDict]
) -> None:
    def dropped(times: int) -> Callable[[], bool]:
        return lambda: logged_actions(logged).count("job_dropped") >= times

    settings = settings_without_sweeps(api)
    async with running_worker(settings):
        await wait_until_taking_jobs(redis)
        for times in (1, 2, 3):
            await redis.zadd(settings.queue_name, {b"ghost": 1, b"\xff\xfe": 2})
            await wait_until(dropped(times))
        assert "redis_unusable" in logged_actions(logged)
        assert (await api.wait_until_finished((await api.create())["id"]))["state"] == "succeeded"


async def test_it_stays_up_while_postgres_is_away(
    settings: Settings, redis: ArqRedis, logged: list[EventDict]
) -> None:
    """And takes no job, as it does not know yet whether the database is at home."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/x"
    expected = {"sweep_failed", "unavailable", "not_listening", "moment_not_noted"}
    async with running_worker(replace(settings, database_url=url, sweep_interval=OFTEN)):
        await redis.enqueue_job("create_subject", "acme", request_body())
        await wait_until(lambda: expected <= set(logged_actions(logged)))
        assert await redis.zcard(settings.queue_name) == 1
    assert logged[-1]["action"] == "stopped"


def take_out_faults(logged: list[EventDict]) -> None:
    """Those of whoever looked for the column `deadline`, which is hidden, and no others."""
    hidden = re.compile(r"column \S*deadline\S* does not exist")
    faults = [line for line in logged if hidden.search(str(line.get("exception")))]
    assert faults
    for fault in faults:
        logged.remove(fault)


async def test_a_sweep_that_fails_is_made_again(api: Api, logged: list[EventDict]) -> None:
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")
    settings = replace(api.resources.settings, sweep_interval=OFTEN)
    sweeping = asyncio.create_task(
        worker.sweep_periodically(
            replace(api.resources, settings=settings), expired_leases_and_deadlines.sweep
        )
    )
    await wait_until(lambda: logged_actions(logged).count("fault") > 1)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    take_out_faults(logged)


async def test_what_is_under_way_is_recorded_before_it_stops(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"delay": 3, "lose": True, "processing_after": 600})
    subject = await api.create()
    async with running_worker(settings_without_sweeps(api)):

        async def received() -> bool:
            return bool((await provider.ledger(subject["id"]))["creates"])

        await wait_until(received)
        assert (await api.read(subject["id"]))["state"] == "submitting"
    assert (await api.read(subject["id"]))["state"] == "submitted"


async def test_old_things_are_forgotten_while_redis_is_away(api: Api) -> None:
    await api.http.post("/v1/subjects", json=request_body(), headers={"idempotency-key": "key"})
    await fetch(api.resources, "UPDATE idempotency_keys SET created_at = '2020-01-01Z'")
    nobody = f"redis://127.0.0.1:{free_port()}/0"

    async def forgotten() -> bool:
        return not await fetch(api.resources, "SELECT key FROM idempotency_keys")

    async with running_worker(replace(api.resources.settings, redis_url=nobody)):
        await wait_until(forgotten)


async def test_a_sweep_that_fails_keeps_none_of_the_others_from_being_made(
    api: Api, logged: list[EventDict]
) -> None:
    await api.http.post("/v1/subjects", json=request_body(), headers={"idempotency-key": "key"})
    await fetch(api.resources, "UPDATE idempotency_keys SET created_at = '2020-01-01Z'")
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")

    async def forgotten() -> bool:
        return not await fetch(api.resources, "SELECT key FROM idempotency_keys")

    async with running_worker(replace(api.resources.settings, sweep_interval=OFTEN)):
        await wait_until(forgotten)
        await wait_until(lambda: "fault" in logged_actions(logged))
    take_out_faults(logged)


async def test_a_worker_that_is_held_leaves_jobs_to_others_until_it_is_no_more(
    api: Api, redis: ArqRedis, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(note_moment, "NOTED_EVERY", timedelta(seconds=0.05))
    settings = settings_without_sweeps(api)
    async with running_worker(settings):
        await wait_until_taking_jobs(redis)
        await fetch(
            api.resources, "UPDATE installation SET held_reason = 'as asked', held_since = now()"
        )
        await wait_until(lambda: "installation_held" in logged_actions(logged))
        await redis.enqueue_job("create_subject", "acme", request_body())
        waiting = await api.create()
        assert (await api.read(waiting["id"]))["state"] == "queued"
        assert await redis.zcard(settings.queue_name) == 1
        await fetch(api.resources, "UPDATE installation SET held_reason = NULL, held_since = NULL")
        await api.wait_until_finished(waiting["id"])

        async def taken() -> bool:
            return not await redis.zcard(settings.queue_name)

        await wait_until(taken)
