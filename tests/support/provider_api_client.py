"""A client of the provider's API, written from rules P1 to P25 alone: it knows a base URL, a key
and a webhook secret, and nothing of us."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from standardwebhooks import Webhook

from tests.support.simulator import PATH
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver

FINAL_STATUSES = {"succeed", "failed"}
TIMEOUT = 20.0  # seconds; never waited for by a test that passes


@dataclass(frozen=True)
class ApiConfig:
    """What a client of the provider is configured with."""

    base_url: str
    key: str
    secret: str  # that callbacks are signed with, whsec_…


@dataclass
class ProviderApiClient:
    """The calls of rules P2 to P4."""

    config: ApiConfig
    http: httpx.AsyncClient

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        task: dict[str, Any] = data_of(await self.http.post(PATH, json=body))
        return task

    async def query(self, name: str) -> dict[str, Any]:
        """The task with this id, the provider's or the client's own."""
        task: dict[str, Any] = data_of(await self.http.get(f"{PATH}/{name}"))
        return task

    async def wait_until_finished(self, name: str) -> dict[str, Any]:
        """Poll until it has succeeded or failed."""
        deadline = time.monotonic() + TIMEOUT
        while (task := await self.query(name))["task_status"] not in FINAL_STATUSES:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return task

    async def page(self, **query: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = data_of(await self.http.get(PATH, params=query))
        return tasks

    async def verified_callbacks(self, callbacks: WebhookReceiver) -> list[dict[str, Any]]:
        """The verified callbacks of one task, once the final one has come."""

        def records() -> list[dict[str, Any]]:
            return [json.loads(body) for _, body in callbacks.requests]

        await wait_until(
            lambda: any(record["task_status"] in FINAL_STATUSES for record in records()), TIMEOUT
        )
        for headers, body in callbacks.requests:
            Webhook(self.config.secret).verify(body, headers)
        return records()


@asynccontextmanager
async def provider_api_client(there: ApiConfig) -> AsyncIterator[ProviderApiClient]:
    headers = {"authorization": f"Bearer {there.key}"}
    async with httpx.AsyncClient(
        base_url=there.base_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        yield ProviderApiClient(there, http)


def data_of(answer: httpx.Response) -> Any:  # noqa: ANN401 - any JSON
    """`data` of a successful response, by `code` 0."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (200, 0), body
    assert set(body) == {"code", "message", "request_id", "data"}
    assert answer.headers["content-type"] == "application/json"
    return body["data"]


def json_shape(value: object) -> object:
    """The JSON with the name of its type in place of each value."""
    match value:
        case dict():
            return {name: json_shape(member) for name, member in sorted(value.items())}
        case list():
            return [json_shape(entry) for entry in value]
        case _:
            return type(value).__name__
