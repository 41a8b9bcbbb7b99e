"""Fetching and inspecting one image or video behind a URL, of which nothing is kept."""

import asyncio
import hashlib
from dataclasses import dataclass
from io import BytesIO

from service.media.domain import image, video
from service.media.domain.defects import Defect
from service.media.domain.references import MediaKind
from service.resources import Resources


@dataclass(frozen=True, slots=True)
class Inspection:
    """What fetching and inspecting a file behind a URL has shown."""

    size: int  # bytes that were read
    defect: Defect | None = None  # None: it is good
    content_hash: str | None = None  # SHA-256 of a good image, hex


async def fetch_and_inspect(resources: Resources, kind: MediaKind, url: str) -> Inspection:
    """Fetch a file and inspect it, in bounded time and memory whatever is behind its URL."""
    return await (_fetch_image if kind == "image" else _fetch_video)(resources, url)


async def _fetch_image(resources: Resources, url: str) -> Inspection:
    """Inspect an image whole: it is in memory once, as BytesIO gives its bytes without a copy."""
    buffer = BytesIO()

    async def consume(piece: bytes) -> bool:
        buffer.write(piece)
        return True

    timeout = resources.settings.media_timeout
    result = await resources.fetcher.fetch(
        url, consume, max_bytes=image.MAX_BYTES, timeout_seconds=timeout
    )
    if isinstance(result, Defect):
        return Inspection(buffer.tell(), result)
    return await asyncio.to_thread(_inspect_image, buffer.getvalue())


def _inspect_image(data: bytes) -> Inspection:
    found = image.inspect(data)
    if isinstance(found, Defect):
        return Inspection(len(data), found)
    return Inspection(len(data), content_hash=hashlib.sha256(data).hexdigest())


async def _fetch_video(resources: Resources, url: str) -> Inspection:
    """Inspect a video piece by piece, in a thread: a hostile file may make work of each."""
    inspector = video.VideoInspector()
    size = 0

    async def consume(piece: bytes) -> bool:
        nonlocal size
        size += len(piece)
        await asyncio.to_thread(inspector.feed, piece)
        return inspector.defect is None

    timeout = resources.settings.media_timeout
    result = await resources.fetcher.fetch(
        url, consume, max_bytes=video.MAX_BYTES, timeout_seconds=timeout
    )
    if isinstance(result, Defect):
        return Inspection(size, result)
    found = await asyncio.to_thread(inspector.finish)
    return Inspection(result.size, found if isinstance(found, Defect) else None)
