"""One medium behind a URL: fetched through the guard, judged as it comes, not kept."""

import asyncio
import hashlib
from dataclasses import dataclass
from io import BytesIO

from service.media.domain import image, video
from service.media.domain.defects import Defect
from service.media.domain.references import MediaKind
from service.media.remote.fetch import FetchFailure
from service.resources import Resources


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is wrong with it, `passing` if it may be well the next time; or `content`, the SHA-256
    (hex) of a good image. `size` is how many bytes of it were read."""

    size: int
    flaw: Defect | None = None
    passing: bool = False
    content: str | None = None


async def fetch_and_inspect(resources: Resources, kind: MediaKind, url: str) -> Inspection:
    """Fetch and judge it. Whatever is behind the URL, this returns in bounded time and memory."""
    return await (_fetch_image(resources, url) if kind == "image" else _fetch_video(resources, url))


async def _fetch_image(resources: Resources, url: str) -> Inspection:
    """Judged whole: it is in memory once, as BytesIO gives its bytes away without a copy."""
    kept = BytesIO()

    async def feed(piece: bytes) -> bool:
        kept.write(piece)
        return True

    seconds = resources.settings.media_timeout
    came = await resources.fetcher.fetch(url, feed, most=image.MAX_BYTES, seconds=seconds)
    if isinstance(came, FetchFailure):
        return _not_fetched(came, kept.tell())
    found, content = await asyncio.to_thread(_inspect_image, kept.getvalue())
    return Inspection(came.size, found, content=content)


def _inspect_image(data: bytes) -> tuple[Defect | None, str | None]:
    found = image.inspect(data)
    if isinstance(found, Defect):
        return found, None
    return None, hashlib.sha256(data).hexdigest()


async def _fetch_video(resources: Resources, url: str) -> Inspection:
    """Judged piece by piece, in a thread: a hostile file may make work of each."""
    reader = video.VideoInspector()
    fed = 0

    async def feed(piece: bytes) -> bool:
        nonlocal fed
        fed += len(piece)
        await asyncio.to_thread(reader.feed, piece)
        return reader.flaw is None

    seconds = resources.settings.media_timeout
    came = await resources.fetcher.fetch(url, feed, most=video.MAX_BYTES, seconds=seconds)
    if isinstance(came, FetchFailure):
        return _not_fetched(came, fed)
    found = await asyncio.to_thread(reader.finish)
    return Inspection(came.size, found if isinstance(found, Defect) else None)


def _not_fetched(came: FetchFailure, size: int) -> Inspection:
    return Inspection(size, Defect(came.code, came.message), came.passing)
