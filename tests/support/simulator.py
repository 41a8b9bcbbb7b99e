"""The provider simulator, served on loopback inside the test process, and a client of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.kit.crypto import key_formats
from service.local.simulator import Options, Settings, build
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body

PATH = "/v1/general/advanced-custom-elements"
API_KEY = "a-provider-key"
ACCESS_KEY, SECRET_KEY = "access", "the secret key's own characters"
WEBHOOK_SECRET = key_formats.format_whsec(b"k" * 32)
FINISH_AT_ONCE = Settings(processing_after=0, finished_after=0, callback_retries=[0.01, 0.01])
NEVER_FINISH = Settings(processing_after=600, finished_after=600)


@dataclass
class SimulatorClient:
    """A client of the simulator, with its API key."""

    http: httpx.AsyncClient

    async def create(self, **changes: object) -> httpx.Response:
        """Create a task; `changes` are to the fields of a valid request."""
        return await self.http.post(PATH, json=request_body(**changes))

    async def query(self, name: str) -> httpx.Response:
        return await self.http.get(f"{PATH}/{name}")

    async def admin(self, path: str, body: object) -> httpx.Response:
        return await self.http.post(f"/_simulator/{path}", json=body)

    async def ledger(self, external: str | None = None) -> dict[str, Any]:
        params = {} if external is None else {"external_task_id": external}
        read: dict[str, Any] = (await self.http.get("/_simulator/ledger", params=params)).json()
        return read

    async def wait_until_finished(self, name: str) -> dict[str, Any]:
        """Query the task until it has ended; its record."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            record: dict[str, Any] = (await self.query(name)).json()["data"]
            if record["task_status"] in ("succeed", "failed"):
                return record
            await asyncio.sleep(0.01)
        raise AssertionError(name)


@asynccontextmanager
async def simulator(
    settings: Settings = FINISH_AT_ONCE,
    webhook_secret: str | None = WEBHOOK_SECRET,
    data: Path | None = None,
) -> AsyncIterator[SimulatorClient]:
    """A simulator whose tasks end at once unless `settings` says otherwise."""
    options = Options(
        api_key=API_KEY,
        webhook_secret=webhook_secret,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        data=data,
        settings=settings,
    )
    async with (
        http_server(build(options)) as address,
        httpx.AsyncClient(
            base_url=address, headers={"authorization": f"Bearer {API_KEY}"}, trust_env=False
        ) as http,
    ):
        yield SimulatorClient(http)
