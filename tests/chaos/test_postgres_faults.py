"""Postgres cut off in the middle of its work, again and again: what was promised is there."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import httpx
import orjson
import pytest

from service.kit.crypto import webhook_signatures
from service.kit.crypto.key_formats import parse_whsec
from service.local.stack import Stack, stack
from tests.chaos.world import SHORT_LEASES, RunningService, until
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import webhook_receiver

RESTARTS = 4
BACK_WITHIN = 10.0  # seconds after Postgres can be written to again
TERMINATE = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = $1 AND pid <> pg_backend_pid()
"""
WRITTEN = 15  # subjects and callbacks promised between one restart and the next


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Durable: what is promised must outlive the server, as it does where it matters.
    settings = {
        **SHORT_LEASES,
        "CALLSHEET_DELIVERY_TIMEOUT": "1",
        "CALLSHEET_DELIVERY_SCHEDULE": "1,1,1",
    }
    with stack(tmp_path_factory.mktemp("postgres faults"), settings, keep=False) as started:
        yield started


@dataclass
class Load:
    """Callers and a provider who write as fast as they are answered; what they were promised."""

    world: RunningService
    subjects: list[str] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)
    strange: list[int] = field(default_factory=list)

    async def create_for_ever(self) -> None:
        while True:
            with suppress(httpx.TransportError):
                answer = await self.world.http.post("/v1/subjects", json=request_body("steady"))
                if self._promised(answer, 202):
                    self.subjects.append(answer.json()["id"])

    async def call_back_for_ever(self) -> None:
        key = parse_whsec(self.world.stack.env["CALLSHEET_WEBHOOK_SECRETS"])
        while True:
            message_id = f"msg_{secrets.token_hex(8)}"
            body = orjson.dumps({"task_id": message_id, "task_status": "processing"})
            headers = webhook_signatures.signature_headers(
                [key], message_id, int(time.time()), body
            )
            with suppress(httpx.TransportError):
                answer = await self.world.http.post("/callbacks", content=body, headers=headers)
                if self._promised(answer, 200):
                    self.callbacks.append(message_id)

    def _promised(self, answer: httpx.Response, status: int) -> bool:
        if answer.status_code not in {status, 503}:
            self.strange.append(answer.status_code)
        return answer.status_code == status

    async def go_on(self) -> None:
        """Wait until so many more of both are promised."""
        least = min(len(self.subjects), len(self.callbacks)) + WRITTEN

        async def is_enough() -> bool:
            return min(len(self.subjects), len(self.callbacks)) >= least

        await until(is_enough)


async def missing(running: Stack, load: Load) -> dict[str, list[str]]:
    """What was promised and is not there."""
    connection = await asyncpg.connect(running.env["CALLSHEET_DATABASE_URL"])
    try:
        subjects = await connection.fetch("SELECT id FROM subjects")
        callbacks = await connection.fetch("SELECT dedup_key FROM callbacks")
    finally:
        await connection.close()
    return {
        "subjects": sorted(set(load.subjects) - {row[0] for row in subjects}),
        "callbacks": sorted(set(load.callbacks) - {row[0] for row in callbacks}),
    }


@pytest.mark.timeout(150)
async def test_postgres_cut_off_under_load_costs_nothing_that_was_promised(running: Stack) -> None:
    pids = [running.child(name).pid for name in ("web", "worker")]
    async with RunningService.open(running) as world, webhook_receiver() as subscriber:
        answer = await world.http.post("/v1/subscribers", json={"url": subscriber.url})
        assert answer.status_code == 201, answer.text
        quick = {"processing_after": 0.1, "finished_after": 0.2}
        await world.http.post(f"{running.simulator_url}/_simulator/settings", json=quick)
        load = Load(world)
        async with asyncio.TaskGroup() as group:
            loading = [
                group.create_task(work())
                for work in (load.create_for_ever, load.call_back_for_ever, load.create_for_ever)
            ]
            for _ in range(RESTARTS):
                await load.go_on()
                await asyncio.to_thread(running.child("postgres").restart)
            await load.go_on()
            for task in loading:
                task.cancel()

        assert load.strange == []
        assert await missing(running, load) == {"subjects": [], "callbacks": []}
        for subject_id in load.subjects:
            assert (await world.wait_until_finished(subject_id))["state"] == "succeeded"

        async def has_received_all() -> bool:
            received_ids = {orjson.loads(body)["data"]["id"] for _, body in subscriber.requests}
            return received_ids >= set(load.subjects)

        await until(has_received_all)
        assert world.violations() == "0 violations"
    assert [running.child(name).pid for name in ("web", "worker")] == pids
    assert running.supervisor.ended() == []


async def become(running: Stack, change: str, *, terminate: bool = False) -> None:
    """Change the service's database from another one; new sessions are as it says from then on."""
    url, _, name = running.env["CALLSHEET_DATABASE_URL"].rpartition("/")
    connection = await asyncpg.connect(f"{url}/template1")
    try:
        await connection.execute(f"ALTER DATABASE {name} {change}")
        if terminate:
            await connection.fetch(TERMINATE, name)
    finally:
        await connection.close()


@pytest.mark.timeout(150)
async def test_a_postgres_that_only_reads_for_a_while_costs_only_that_while(
    running: Stack,
) -> None:
    """A failover: no process is restarted, and no session stays as it was opened meanwhile."""
    pids = [running.child(name).pid for name in ("web", "worker")]
    async with RunningService.open(running) as world:
        quick = {"processing_after": 0.1, "finished_after": 0.2}
        await world.change_simulator_settings(**quick)
        before = await world.create()
        load = Load(world)

        async def readiness() -> int:
            return (await world.http.get("/readyz")).status_code

        async def is_unavailable() -> bool:
            return await readiness() == httpx.codes.SERVICE_UNAVAILABLE

        async with asyncio.TaskGroup() as group:
            works = (load.create_for_ever, load.call_back_for_ever, load.create_for_ever)
            loading = [group.create_task(work()) for work in works]
            await load.go_on()
            await become(running, "SET default_transaction_read_only = on", terminate=True)
            await until(is_unavailable)
            for _ in range(WRITTEN):
                assert await is_unavailable()
                answer = await world.http.post("/v1/subjects", json=request_body("early"))
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            await become(running, "RESET default_transaction_read_only")
            async with asyncio.timeout(BACK_WITHIN):
                await load.go_on()
            assert await readiness() == httpx.codes.OK
            for task in loading:
                task.cancel()
        assert load.strange == []
        assert await missing(running, load) == {"subjects": [], "callbacks": []}
        for subject_id in (before, *load.subjects):
            assert (await world.wait_until_finished(subject_id))["state"] == "succeeded"
        assert world.violations() == "0 violations"
    assert [running.child(name).pid for name in ("web", "worker")] == pids
    assert running.supervisor.ended() == []
