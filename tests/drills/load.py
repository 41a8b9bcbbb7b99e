"""What goes on while a drill restores: callers that create subjects and repeat what they are told
is not there, and a subscriber that keeps what it was told."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.chaos.world import RETRY_INTERVAL, RunningService, until
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body

CALM, UNTOLD, SLOW = "calm", "callbacks lost", "slow"  # what subjects are called
NAMES = [CALM, CALM, UNTOLD, CALM, SLOW]
FAULTS: list[dict[str, object]] = [
    {"element_name": UNTOLD, "times": None, "lose": True},
    {"element_name": SLOW, "times": None, "finished_after": 8.0},
]


@dataclass
class Told:
    """What the subscriber was told, once."""

    at: float  # time.monotonic()
    webhook_id: str
    type: str
    data: dict[str, Any]


@dataclass
class Subscriber:
    """A subscriber that takes everything, and keeps it."""

    told: list[Told] = field(default_factory=list)
    failing: bool = False  # whether it answers 500

    async def receive(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        told = Told(time.monotonic(), request.headers["webhook-id"], body["type"], body["data"])
        self.told.append(told)
        return Response(status_code=500 if self.failing else 200)

    def since(self, at: float) -> list[Told]:
        """What it was told since then."""
        return [told for told in self.told if told.at >= at]


@asynccontextmanager
async def subscribed(world: RunningService) -> AsyncIterator[Subscriber]:
    """A subscriber of the account's."""
    subscriber = Subscriber()
    app = Starlette(routes=[Route("/hook", subscriber.receive, methods=["POST"])])
    async with http_server(app) as address:
        answer = await world.http.post("/v1/subscribers", json={"url": f"{address}/hook"})
        assert answer.status_code == 201, answer.text
        yield subscriber


@dataclass
class Callers:
    """Callers that create subjects, each under an external id of its own."""

    world: RunningService
    ids: dict[str, str] = field(default_factory=dict)  # our id by the caller's, as accepted last
    again: dict[str, str] = field(default_factory=dict)  # likewise, of those that were lost
    _number: int = 0

    async def create(self, count: int) -> None:
        """Create so many, at once."""
        await asyncio.gather(*(self._create_next() for _ in range(count)))

    async def keep_creating(self, each: float) -> None:
        """Create one every so many seconds, until canceled."""
        while True:
            await self._create_next()
            await asyncio.sleep(each)

    async def _create_next(self) -> None:
        self._number += 1
        external_id = f"ours-{self._number}"
        self.ids[external_id] = await self._accepted(external_id, NAMES[self._number % len(NAMES)])

    async def repeat_what_is_lost(self) -> None:
        """Create those again that the service does not know any more."""
        for number, (external_id, subject_id) in enumerate(list(self.ids.items()), start=1):
            answer = await self.world.http.get(f"/v1/subjects/{subject_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                name = NAMES[number % len(NAMES)]
                self.again[external_id] = await self._accepted(external_id, name)
        self.ids |= self.again

    async def _accepted(self, external_id: str, name: str) -> str:
        """The id of the subject, once it was accepted."""
        body = request_body(name, external_task_id=external_id)
        found = ""

        async def is_accepted() -> bool:
            nonlocal found
            with suppress(httpx.TransportError):
                answer = await self.world.http.post("/v1/subjects", json=body)
                assert answer.status_code in {200, 202, 503}, answer.text
                found = answer.json().get("id", "") if answer.is_success else ""
            if not found:
                await asyncio.sleep(RETRY_INTERVAL)
            return bool(found)

        await until(is_accepted)
        return found
