"""A webhook receiver on loopback: it keeps what is posted to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.http_server import http_server
from tests.support.waiting import wait_until


@dataclass
class WebhookReceiver:
    """Takes callbacks; `answers` are the statuses to give first, then always 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    async def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """What came, once so many have come."""
        await wait_until(lambda: len(self.requests) >= count)
        return self.requests


@asynccontextmanager
async def webhook_receiver(*answers: int) -> AsyncIterator[WebhookReceiver]:
    """A receiver on loopback."""
    one = WebhookReceiver(answers=list(answers))
    app = Starlette(routes=[Route("/{rest:path}", one.receive, methods=["POST"])])
    async with http_server(app) as address:
        one.url = f"{address}/callback"
        yield one
