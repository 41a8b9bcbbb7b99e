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
    """A receiver that answers 200, unless `answers` has another status."""

    url: str = ""
    answer: bytes = b""  # the body of each answer
    answers: list[int] = field(default_factory=list)  # statuses of the next requests
    # Headers and body of each request, oldest first.
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        status = self.answers.pop(0) if self.answers else 200
        return Response(self.answer, status)

    async def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """All requests, once there are `count`."""
        await wait_until(lambda: len(self.requests) >= count)
        return self.requests


@asynccontextmanager
async def webhook_receiver(*answers: int) -> AsyncIterator[WebhookReceiver]:
    """A running receiver; `answers` are the statuses it gives first."""
    receiver = WebhookReceiver(answers=list(answers))
    app = Starlette(routes=[Route("/{rest:path}", receiver.receive, methods=["POST"])])
    async with http_server(app) as address:
        receiver.url = f"{address}/callback"
        yield receiver
