"""A simulator and a caller's back end, served on loopback inside the test process."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.kit.crypto import key_formats
from service.local.simulator import Options, Settings, build

PATH = "/v1/general/advanced-custom-elements"
KEY = "a-provider-key"
ACCESS_KEY, SECRET_KEY = "access", "the secret key's own characters"
SECRET = key_formats.format_whsec(b"k" * 32)
AT_ONCE = Settings(processing_after=0, finished_after=0, callback_retries=[0.01, 0.01])
NEVER = Settings(processing_after=600, finished_after=600)


@asynccontextmanager
async def served(
    app: ASGIApp, http: type[HttpToolsProtocol] = HttpToolsProtocol
) -> AsyncIterator[str]:
    """The application behind a real server on a free port; yields its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=http, log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()  # serve() would take the test's signals, and a tenth of a second to end
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    """Server.shutdown() without its wait of a tenth of a second; calls under way are cut off."""
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    for call in list(server.server_state.tasks):
        call.cancel()
    await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
    await server.lifespan.shutdown()


@dataclass
class Remote:
    """The simulator as its callers see it."""

    http: httpx.AsyncClient

    async def create(self, **changes: object) -> httpx.Response:
        """A valid create, with changes."""
        return await self.http.post(PATH, json=request_body(**changes))

    async def query(self, name: str) -> httpx.Response:
        return await self.http.get(f"{PATH}/{name}")

    async def admin(self, path: str, body: object) -> httpx.Response:
        return await self.http.post(f"/_simulator/{path}", json=body)

    async def ledger(self, external: str | None = None) -> dict[str, Any]:
        params = {} if external is None else {"external_task_id": external}
        read: dict[str, Any] = (await self.http.get("/_simulator/ledger", params=params)).json()
        return read

    async def ended(self, name: str) -> dict[str, Any]:
        """The record, once the task has ended."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            record: dict[str, Any] = (await self.query(name)).json()["data"]
            if record["task_status"] in ("succeed", "failed"):
                return record
            await asyncio.sleep(0.01)
        raise AssertionError(name)


@asynccontextmanager
async def simulator(
    settings: Settings = AT_ONCE, webhook_secret: str | None = SECRET, data: Path | None = None
) -> AsyncIterator[Remote]:
    """A simulator whose tasks end at once unless `settings` says otherwise."""
    options = Options(
        api_key=KEY,
        webhook_secret=webhook_secret,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        data=data,
        settings=settings,
    )
    async with (
        served(build(options)) as address,
        httpx.AsyncClient(
            base_url=address, headers={"authorization": f"Bearer {KEY}"}, trust_env=False
        ) as http,
    ):
        yield Remote(http)


@dataclass
class Receiver:
    """Takes callbacks; `answers` are the statuses to give first, then always 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.got.append((dict(request.headers), await request.body()))
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    async def wait(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """What came, once so many have come."""
        await until(lambda: len(self.got) >= count)
        return self.got


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    one = Receiver(answers=list(answers))
    app = Starlette(routes=[Route("/{rest:path}", one.take, methods=["POST"])])
    async with served(app) as address:
        one.url = f"{address}/callback"
        yield one


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def image_base64(colour: str = "red", form: str = "PNG") -> str:
    """A small image that keeps rule P16."""
    buffer = io.BytesIO()
    Image.new("RGB", (320, 320), colour).save(buffer, form)
    return base64.b64encode(buffer.getvalue()).decode()


FRONTAL, OTHER = image_base64("red"), image_base64("blue", "JPEG")


def request_body(**changes: object) -> dict[str, object]:
    """A create-subject body that breaks no rule; a change to None leaves the field out."""
    body: dict[str, object] = {
        "element_name": "Ada",
        "element_description": "a test subject",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": FRONTAL, "refer_images": [{"image_url": OTHER}]},
        "tag_list": [{"tag_id": "o_102"}],
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def video_body(url: str) -> dict[str, object]:
    """The changes that make it a video subject."""
    return {
        "reference_type": "video_refer",
        "element_image_list": None,
        "element_video_list": {"refer_videos": [{"video_url": url}]},
    }
