"""The whole service as processes, a caller of it, and the simulator's view of what it did."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import orjson
from arq.connections import create_pool
from arq.jobs import ResultNotFound
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.job_queue import REDIS_ERRORS, redis_settings
from service.local.processes import Child
from service.local.stack import Stack, stack
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH

LEASE = 3  # seconds: what a dead worker held is taken up after this
SHORT_LEASES = {
    "CALLSHEET_LEASE": str(LEASE),
    "CALLSHEET_POLL_AFTER": "1",
    "CALLSHEET_NOT_FOUND_GRACE": "1",
    "CALLSHEET_SWEEP_INTERVAL": "0.2",
}
RETRY_INTERVAL = 0.2  # seconds before a caller who got no answer asks again
JOB_TIMEOUT = 3.0  # seconds until another job is enqueued: its worker or Redis may be gone
SERVICE_TIMEOUT = 40.0  # seconds until something must have come about
LEASES = """
    SELECT lease_token AS token, lease_until AS until FROM subjects WHERE state = 'submitting'
    UNION SELECT media_lease_token, media_check_at FROM subjects
    WHERE state = 'queued' AND media_lease_token IS NOT NULL
    UNION SELECT lease_token, due_at FROM deliveries
    WHERE state = 'pending' AND lease_token IS NOT NULL
"""
BLOCKED = """
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@dataclass
class RunningService:
    """A running stack and a caller of it; durations are seconds."""

    stack: Stack
    http: httpx.AsyncClient
    answers: list[str] = field(default_factory=list)  # the bodies that the caller was answered

    @classmethod
    @asynccontextmanager
    async def open(cls, running: Stack) -> AsyncIterator[Self]:
        key = running.make_key("acme")
        async with httpx.AsyncClient(
            base_url=running.base_url,
            headers={"authorization": f"Bearer {key}"},
            # An idle connection is let go before the server, after 5 s, closes it under a call.
            limits=httpx.Limits(keepalive_expiry=1),
            trust_env=False,
            timeout=30,
        ) as http:
            world = cls(running, http)
            http.event_hooks["response"].append(world.keep)
            yield world

    async def keep(self, response: httpx.Response) -> None:
        """Keep what one of the service's own paths answered."""
        if str(response.url).startswith(self.stack.base_url):
            self.answers.append((await response.aread()).decode())

    async def create(self, name: str = "Ada", **changes: object) -> str:
        """Create a subject; its id."""
        answer = await self.http.post("/v1/subjects", json=request_body(name, **changes))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def create_until_accepted(self, body: Mapping[str, Any], key: str) -> str:
        """Create a subject, retried until it is accepted; its id."""
        deadline = time.monotonic() + SERVICE_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = await self.http.post(
                    "/v1/subjects", json=body, headers={"idempotency-key": key}
                )
                assert answer.status_code in {200, 202, 503}, answer.text
                if answer.is_success:
                    return str(answer.json()["id"])
            await asyncio.sleep(RETRY_INTERVAL)
        raise AssertionError(key)

    async def create_by_job(self, body: Mapping[str, Any], key: str) -> str:
        """Create a subject by arq jobs, one after the other until one has a result; its id."""
        settings = redis_settings(self.stack.env["CALLSHEET_REDIS_URL"])
        deadline = time.monotonic() + SERVICE_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(*REDIS_ERRORS, ResultNotFound):
                async with await create_pool(settings, default_queue_name="callsheet") as redis:
                    job = await redis.enqueue_job("create_subject", "acme", body, key)
                    assert job is not None
                    result = await job.result(timeout=JOB_TIMEOUT, poll_delay=RETRY_INTERVAL)
                    return str(result["subject"]["id"])
            await asyncio.sleep(RETRY_INTERVAL)
        raise AssertionError(key)

    async def read(self, subject_id: str) -> dict[str, Any]:
        read: dict[str, Any] = (await self.http.get(f"/v1/subjects/{subject_id}")).json()
        return read

    async def wait_until_finished(self, subject_id: str) -> dict[str, Any]:
        """The subject, once it has ended."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            nonlocal found
            found = await self.read(subject_id)
            return bool(found["finished_at"])

        await until(has_ended)
        return found

    async def add_fault(self, **rule: object) -> None:
        answer = await self.http.post(f"{self.stack.simulator_url}/_simulator/faults", json=rule)
        assert answer.status_code == 200, answer.text

    async def add_faults(self, rules: Sequence[Mapping[str, object]]) -> None:
        url = f"{self.stack.simulator_url}/_simulator/faults"
        answer = await self.http.post(url, json=rules)
        assert answer.status_code == 200, answer.text

    async def change_simulator_settings(self, **changes: object) -> None:
        """Change settings of the simulator."""
        url = f"{self.stack.simulator_url}/_simulator/settings"
        answer = await self.http.post(url, json=changes)
        assert answer.status_code == 200, answer.text

    async def ledger(self) -> dict[str, Any]:
        """Every create, look-up and callback that the simulator has seen."""
        answer = await self.http.get(f"{self.stack.simulator_url}/_simulator/ledger")
        read: dict[str, Any] = answer.json()
        return read

    async def provider_records(self, path: str = "", **params: int) -> Any:  # noqa: ANN401 - a record, or a list of them
        """What the provider itself says of its tasks, in the legacy shape."""
        key = self.stack.env["CALLSHEET_PROVIDER_API_KEY"]
        answer = await self.http.get(
            f"{self.stack.simulator_url}{PATH}{path}",
            params=params,
            headers={"authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def fetch(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement on a connection of its own; its rows."""
        connection = await asyncpg.connect(self.stack.env["CALLSHEET_DATABASE_URL"])
        try:
            return [dict(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[None]:
        """Lock the table against all reads while the block runs."""
        connection = await asyncpg.connect(self.stack.env["CALLSHEET_DATABASE_URL"])
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table}")
                yield
        finally:
            await connection.close()

    async def waits_for_lock(self) -> bool:
        """Whether a session waits for a lock."""
        return bool(await self.fetch(BLOCKED))

    async def lease_ends(self) -> dict[str, datetime]:
        """When each lease ends, by its token."""
        return {row["token"]: row["until"] for row in await self.fetch(LEASES)}

    async def only_lease(self) -> tuple[str, datetime]:
        """The token and the end of the only lease, once there is one."""
        found: dict[str, datetime] = {}

        async def is_held() -> bool:
            nonlocal found
            found = await self.lease_ends()
            return bool(found)

        await until(is_held)
        ((token, end),) = found.items()
        assert end <= datetime.now(UTC) + timedelta(seconds=LEASE)  # noqa: TID251 - the workers' clock
        return token, end

    async def wait_until_renewed(self, token: str, end: datetime) -> None:
        """Wait until the lease is renewed to end a whole lease later."""

        async def is_longer() -> bool:
            return (await self.lease_ends())[token] > end + timedelta(seconds=LEASE)

        await until(is_longer)

    async def no_delivery_pending(self) -> bool:
        """Whether every delivery has ended."""
        return not await self.fetch("SELECT FROM deliveries WHERE state = 'pending' LIMIT 1")

    async def create_outcomes(self, subject_id: str) -> list[str]:
        """The outcome of each create call that the provider received for the subject."""
        answer = await self.http.get(
            f"{self.stack.simulator_url}/_simulator/ledger",
            params={"external_task_id": subject_id},
        )
        return [create["outcome"] for create in answer.json()["creates"]]

    async def wait_for_create_call(self, subject_id: str) -> None:
        """Wait until the provider has received the create call."""

        async def has_received() -> bool:
            return bool(await self.create_outcomes(subject_id))

        await until(has_received)

    def violations(self) -> str:
        return self.stack.call("audit").strip()

    async def wait_for_log(self, worker: Child, action: str) -> None:
        """Wait until a worker has logged that action."""

        async def has_said() -> bool:
            return f'"action":"{action}"' in worker.log.read_text()

        await until(has_said)

    def faults_logged(self) -> list[str]:
        """The log lines of unexpected errors, which are caught and only logged."""
        return [line for line in self.log_lines() if '"action":"fault"' in line]

    def log_lines(self) -> list[str]:
        """All log lines of webs and workers."""
        logs = self.stack.supervisor.logs.glob("w*.log")
        return [line for log in logs for line in log.read_text().splitlines()]


class FlakyReceiver:
    """A subscriber that refuses one request in five, and remembers what it took: the sequences of
    each subject as they came, and the subject as it was last."""

    path = "/hook-of-the-storm"  # of its URL, which is a secret to everybody else

    def __init__(self) -> None:
        self.secrets: list[str] = []  # that sign for it, without their prefix
        self.accepted: defaultdict[str, list[int]] = defaultdict(list)
        self.last_states: dict[str, dict[str, Any]] = {}
        self._asked = 0

    async def receive(self, request: Request) -> Response:
        data = orjson.loads(await request.body())["data"]
        self._asked += 1
        if self._asked % 5 == 0:
            return Response(status_code=500)
        self.accepted[data["id"]].append(data["sequence"])
        self.last_states[data["id"]] = data
        return Response(status_code=200)

    def has_final_state(self, subject_id: str) -> bool:
        """Whether the event of the subject's end was received."""
        return bool(self.last_states.get(subject_id, {}).get("finished_at"))

    def is_in_order(self, subject_id: str, version: int) -> bool:
        """Each event once or more, none after a later one."""
        taken = self.accepted[subject_id]
        return taken == sorted(taken) and set(taken) == set(range(1, version + 1))


@asynccontextmanager
async def flaky_receiver(world: RunningService) -> AsyncIterator[FlakyReceiver]:
    receiver = FlakyReceiver()
    async with http_server(
        Starlette(routes=[Route(receiver.path, receiver.receive, methods=["POST"])])
    ) as address:
        answer = await world.http.post("/v1/subscribers", json={"url": address + receiver.path})
        assert answer.status_code == 201, answer.text
        receiver.secrets.append(answer.json()["secret"].removeprefix("whsec_"))
        world.answers.clear()  # that one alone shows it
        yield receiver


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = SERVICE_TIMEOUT) -> None:
    """Wait until it holds; fail if it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline
        await asyncio.sleep(0.02)


@contextmanager
def stack_with_short_leases(folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack with short leases, deleted at the end."""
    with stack(folder, _quick(settings), durable=False, keep=False) as running:
        yield running


@contextmanager
def durable_stack_with_short_leases(folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack with short leases whose Postgres is durable, for tests that kill it."""
    with stack(folder, _quick(settings), keep=False) as running:
        yield running


def _quick(settings: Mapping[str, str]) -> dict[str, str]:
    return SHORT_LEASES | {f"CALLSHEET_{name.upper()}": value for name, value in settings.items()}
