"""A host of media on loopback that serves what a test puts there, and holds back what it says."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.local.demo.backend import VIDEO
from service.resources import Resources
from tests.support.database import fetch
from tests.support.http_server import http_server
from tests.support.request_bodies import picture
from tests.support.waiting import wait_until

VIDEO_FILE = VIDEO.read_bytes()  # 1920 x 1080, 5 s


@dataclass
class MediaHost:
    """`files` are bodies, or statuses without one, by name; a name in `held` is answered once the
    gate is open. `asked` counts requests by name."""

    url: str = ""
    files: dict[str, bytes | int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    request_counts: Counter[str] = field(default_factory=Counter)

    async def serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.request_counts[name] += 1
        if name in self.held:
            await self.gate.wait()
        found = self.files.get(name, 404)
        if isinstance(found, int):
            return Response(status_code=found)
        return Response(found)

    def images(self, *names: str) -> dict[str, Any]:
        """Fields of a request: the first is the frontal image."""
        frontal, *others = (f"{self.url}/{name}?secret=1" for name in names)
        refer = [{"image_url": one} for one in others]
        return {"element_image_list": {"frontal_image": frontal, "refer_images": refer}}

    def video(self, name: str) -> dict[str, Any]:
        urls = [{"video_url": f"{self.url}/{name}?secret=1"}]
        return {
            "reference_type": "video_refer",
            "element_video_list": {"refer_videos": urls},
        }

    async def wait_for_request(self, name: str, times: int = 1) -> None:
        async def enough() -> bool:
            return self.request_counts[name] >= times

        await wait_until(enough)


@asynccontextmanager
async def media_host() -> AsyncIterator[MediaHost]:
    """With two good pictures, "front" and "side", and a good film."""
    one = MediaHost(files={"front": picture(shade=1), "side": picture(shade=2), "film": VIDEO_FILE})
    app = Starlette(routes=[Route("/{name}", one.serve)])
    async with http_server(app) as address:
        one.url = address
        yield one
        one.gate.set()


def padded_jpeg(data: bytes, size: int) -> bytes:
    """A JPEG, made as large by what comes after its end."""
    return data + bytes(size - len(data))


def padded_video(size: int) -> bytes:
    """A good film of so many bytes, most of them in a box that says nothing."""
    empty = size - len(VIDEO_FILE)
    return VIDEO_FILE + empty.to_bytes(4, "big") + b"free" + bytes(empty - 8)


async def media_row(resources: Resources, subject_id: str) -> dict[str, Any]:
    """What the queue knows of a subject's media."""
    found = await fetch(
        resources,
        "SELECT state, media_check_at, media_lease_token, media_check_attempts"
        " FROM subjects WHERE id = $1",
        subject_id,
    )
    return found[0]
