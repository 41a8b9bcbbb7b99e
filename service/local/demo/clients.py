"""The demo's clients: of Callsheet's public API and queue, and of the simulator's admin paths."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from arq.connections import ArqRedis, RedisSettings, create_pool

Json = dict[str, Any]
JOB_TIMEOUT = 20.0  # seconds until a job must be done
JOB_INTERVAL = 0.1  # seconds between looks for its result


def http_client(address: str, key: str = "") -> httpx.AsyncClient:
    """A client of one server on this machine; `key` is an API key, empty for none."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=30, trust_env=False)


@dataclass(frozen=True, slots=True)
class CallsheetClient:
    """A client of Callsheet's public API."""

    http: httpx.AsyncClient  # made by `http_client`

    async def subscribe(self, url: str) -> Json:
        """Create a subscriber to all events; the answer alone holds its `secret`."""
        answer = await self.http.post("/v1/subscribers", json={"url": url})
        return _json_of(answer)

    async def create(self, body: Mapping[str, object]) -> httpx.Response:
        """Create a subject; the answer, whatever its status."""
        return await self.http.post("/v1/subjects", json=body)

    async def subjects(self) -> list[Json]:
        """All subjects: the demo has less than one page of them."""
        answer = await self.http.get("/v1/subjects", params={"limit": 200})
        data: list[Json] = _json_of(answer)["data"]
        return data

    async def events(self, subject_id: str) -> list[Json]:
        """The events of one subject, oldest first."""
        answer = await self.http.get(f"/v1/subjects/{subject_id}/events")
        data: list[Json] = _json_of(answer)["data"]
        return data


@asynccontextmanager
async def queue_client(redis_url: str, account: str) -> AsyncIterator["QueueClient"]:
    """A client of the queue in this Redis, which asks for subjects of this account."""
    redis = await create_pool(RedisSettings.from_dsn(redis_url), default_queue_name="callsheet")
    try:
        yield QueueClient(redis, account)
    finally:
        await redis.aclose()


@dataclass(frozen=True, slots=True)
class QueueClient:
    """A back end that enqueues arq jobs, as it may do its own."""

    redis: ArqRedis
    account: str  # its name

    async def create(self, body: Mapping[str, object]) -> Json:
        """Create a subject by a job; the job's result, with the `subject` or an `error`."""
        job = await self.redis.enqueue_job("create_subject", self.account, body)
        result: Json = await job.result(timeout=JOB_TIMEOUT, poll_delay=JOB_INTERVAL)  # type: ignore[union-attr] # without a job id of ours it is never refused
        return result


@dataclass(frozen=True, slots=True)
class SimulatorClient:
    """A client of the simulator's admin paths."""

    http: httpx.AsyncClient  # made by `http_client`

    async def change_settings(self, **settings: object) -> None:
        """Change fields of the simulator's `Settings`."""
        _json_of(await self.http.post("/_simulator/settings", json=settings))

    async def add_faults(self, faults: list[Json]) -> None:
        """Have the simulator commit these faults."""
        (await self.http.post("/_simulator/faults", json=faults)).raise_for_status()

    async def ledger(self) -> Json:
        """Every create, look-up and callback that the simulator has seen."""
        return _json_of(await self.http.get("/_simulator/ledger"))


def _json_of(answer: httpx.Response) -> Json:
    answer.raise_for_status()
    body: Json = answer.json()
    return body
