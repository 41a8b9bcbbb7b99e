"""A media server on loopback that serves the files of a test, and can hold back answers."""

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
    """A media server that a test can change while it runs."""

    url: str = ""
    # By name: a body, or a status without one.
    files: dict[str, bytes | int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)  # names that are answered once `gate` is set
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    request_counts: Counter[str] = field(default_factory=Counter)  # by name

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
        """The field of a create request with these images; the first is the frontal one."""
        frontal, *others = (f"{self.url}/{name}?secret=1" for name in names)
        refer = [{"image_url": url} for url in others]
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
    """A media host with two valid images, "front" and "side", and a valid video, "film"."""
    host = MediaHost(
        files={"front": picture(shade=1), "side": picture(shade=2), "film": VIDEO_FILE}
    )
    app = Starlette(routes=[Route("/{name}", host.serve)])
    async with http_server(app) as address:
        host.url = address
        yield host
        host.gate.set()


def padded_jpeg(data: bytes, size: int) -> bytes:
    """A JPEG of `size` bytes, by zeros after its end."""
    return data + bytes(size - len(data))


def padded_video(size: int) -> bytes:
    """A valid video of `size` bytes, most of them in a `free` box."""
    empty = size - len(VIDEO_FILE)
    return VIDEO_FILE + empty.to_bytes(4, "big") + b"free" + bytes(empty - 8)


async def media_row(resources: Resources, subject_id: str) -> dict[str, Any]:
    """The columns of a subject's media check."""
    found = await fetch(
        resources,
        "SELECT state, media_check_at, media_lease_token, media_check_attempts"
        " FROM subjects WHERE id = $1",
        subject_id,
    )
    return found[0]
