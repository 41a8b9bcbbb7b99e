"""Deliveries in tests: subscribers that answer as they are told, and what became of deliveries."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.http_server import http_server

CLOSED_PORT = "http://127.0.0.1:65009/"  # nobody listens there


@dataclass
class ScriptedSubscriber:
    """A subscriber whose answers a test sets."""

    response: Callable[[], Response]
    url: str = ""
    event_ids: list[str] = field(default_factory=list)  # of the requests that came
    gate: asyncio.Event | None = None  # the next request is answered once it is set

    def answer_with(self, status: int) -> None:
        self.response = lambda: Response(status_code=status)

    async def receive(self, request: Request) -> Response:
        self.event_ids.append(request.headers["webhook-id"])
        response, gate, self.gate = self.response, self.gate, None
        if gate is not None:
            await gate.wait()
        return response()


@asynccontextmanager
async def scripted_subscriber(status: int, **headers: str) -> AsyncIterator[ScriptedSubscriber]:
    """A subscriber on loopback that answers with this status and these headers."""
    server = ScriptedSubscriber(lambda: Response("no" * 9, status, headers))
    app = Starlette(routes=[Route("/hook", server.receive, methods=["POST"])])
    async with http_server(app) as address:
        server.url = f"{address}/hook"
        yield server


async def create_subjects(api: Api, count: int) -> list[str]:
    """The ids of so many new subjects."""
    return [(await api.create(name=f"{number}"))["id"] for number in range(count)]


async def deliver_repeatedly(api: Api) -> None:
    """As often as a worker would: a subscriber that is not known to answer takes few at once."""
    for _ in range(12):
        await api.work(Work.DELIVER)


async def deliveries_of(api: Api, subscriber: dict[str, Any]) -> list[dict[str, Any]]:
    """The subscriber's deliveries, each subject's in sequence."""
    page = await api.http.get(f"/v1/subscribers/{subscriber['id']}/deliveries")
    return sorted(page.json()["data"], key=lambda delivery: str(delivery["event_id"]))


async def health_of(api: Api, subscriber: dict[str, Any]) -> dict[str, Any]:
    """The row of the subscriber's health."""
    sql = "SELECT * FROM subscriber_health WHERE subscriber_id = $1"
    (health,) = await fetch(api.resources, sql, subscriber["id"])
    return health


async def events_of_type(api: Api, type_: str) -> list[dict[str, Any]]:
    """The events of this type in the account's feed."""
    page = (await api.http.get("/v1/events", params={"limit": 200})).json()
    return [event for event in page["data"] if event["type"] == type_]
