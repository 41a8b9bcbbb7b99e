"""The caller's own back end: serves the media, and receives Callsheet's webhooks."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from service.callbacks.domain.verification import verify_v1
from service.kit.errors import SignatureError
from service.local.demo.portraits import encode, portrait

# Five seconds of H.264, 1920x1080, yuv420p, 24 frames a second, `moov` first: 120 frames drawn
# with Pillow (a figure walks through a landscape), encoded by PyAV's libx264 at crf 30.
VIDEO = Path(__file__).parent.parent / "media" / "subject.mp4"


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One delivery that verified and was answered 200."""

    received_at: float  # Unix seconds
    event_id: str  # header `webhook-id`
    type: str  # `subject.` and the state
    sequence: int  # of the event among those of its subject, from 1


@dataclass(slots=True)
class Backend:
    """A webhook receiver that verifies signatures, and refuses one delivery on purpose."""

    keys: list[bytes] = field(default_factory=list, repr=False)  # webhook secrets, decoded
    # By subject id, in the order of arrival, repeats included.
    received: defaultdict[str, list[ReceivedEvent]] = field(
        default_factory=lambda: defaultdict(list)
    )
    unverified: int = 0  # deliveries whose signature did not verify
    failed_on_purpose: int = 0  # deliveries that were answered 500
    fail_once_type: str | None = "subject.submitted"  # answered 500 once; None once it was

    def app(self) -> Starlette:
        """The ASGI application that serves media and receives events."""
        return Starlette(
            routes=[
                Route("/media/subject.mp4", _video),
                Route("/media/{name}/{file}", _picture),
                Route("/events", self.receive, methods=["POST"]),
            ]
        )

    async def receive(self, request: Request) -> Response:
        """Receive one delivery: verified over its exact bytes before it is parsed."""
        raw = await request.body()
        now = time.time()
        try:
            event_id = verify_v1(self.keys, request.headers, raw, datetime.fromtimestamp(now, UTC))
        except SignatureError:
            self.unverified += 1
            return Response(status_code=401)
        event: dict[str, Any] = orjson.loads(raw)
        if event["type"] == self.fail_once_type:
            self.fail_once_type = None
            self.failed_on_purpose += 1
            return Response(status_code=500)
        data = event["data"]
        self.received[data["id"]].append(
            ReceivedEvent(now, event_id, event["type"], data["sequence"])
        )
        return Response(status_code=200)


async def _video(_: Request) -> Response:
    return FileResponse(VIDEO, media_type="video/mp4")


async def _picture(request: Request) -> Response:
    name, file = request.path_params["name"], request.path_params["file"]
    if file == "front.jpg":
        return Response(encode(portrait(name), "JPEG"), media_type="image/jpeg")
    return Response(encode(portrait(name, 0.8), "PNG"), media_type="image/png")


@asynccontextmanager
async def http_server(app: Starlette) -> AsyncIterator[str]:
    """Serve the application on a free port of loopback, in this event loop; yields its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()  # serve() would take over the signals, which are the demo's
    try:
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        await server.shutdown()
