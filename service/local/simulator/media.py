"""Media given by URL: really fetched, within the provider's sizes, known by its first bytes."""

import hashlib
from collections.abc import Iterator
from typing import Any

import aiohttp

from service.kit.network.exact_urls import exact_url, redirect_target
from service.media.remote.fetch import REDIRECTS

MAX_IMAGE = 10_000_000  # bytes; rule P16
MAX_VIDEO = 200_000_000  # bytes; rule P18
FORMAT_BYTES = 12  # bytes that tell the format
MAX_REDIRECTS = 10
STORED_MEDIA_URL = "https://media.invalid/"  # where an answer says that media sent as Base64 now is
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5, sock_read=10)


def image_fields(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Where each image stands in the request, as text for people, and what was given."""
    listed = request.get("element_image_list") or {}
    yield "frontal_image", listed.get("frontal_image", "")
    for index, other in enumerate(listed.get("refer_images") or []):
        yield f"refer_images[{index}]", other.get("image_url", "")


def video_fields(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same for videos."""
    listed = request.get("element_video_list") or {}
    for index, one in enumerate(listed.get("refer_videos") or []):
        yield f"refer_videos[{index}]", one.get("video_url", "")


def is_url(text: str) -> bool:
    """Whether media is given by address; everything else is Base64."""
    return text[:8].lower().startswith(("http://", "https://"))


def public_url(text: str) -> str:
    """What an answer shows for an image: an address, also where the bytes themselves were sent."""
    if not text or is_url(text):
        return text
    return STORED_MEDIA_URL + hashlib.sha256(text.encode()).hexdigest()[:24]


def without_base64(request: dict[str, Any]) -> dict[str, Any]:
    """The request as it is kept, with addresses in place of Base64."""
    listed = request.get("element_image_list")
    if not isinstance(listed, dict):
        return request
    others = [
        {"image_url": public_url(one["image_url"])} for one in listed.get("refer_images") or []
    ]
    shown = {"frontal_image": public_url(listed.get("frontal_image", "")), "refer_images": others}
    return {**request, "element_image_list": shown}


async def media_problem(session: aiohttp.ClientSession, request: dict[str, Any]) -> str | None:
    """Why the media given by URL is no good, or None. Fetches one after the other."""
    wanted, limit, formats = image_fields(request), MAX_IMAGE, "JPEG or PNG"
    if request.get("reference_type") == "video_refer":
        wanted, limit, formats = video_fields(request), MAX_VIDEO, "MP4 or MOV"
    for where, url in wanted:
        if url.startswith(STORED_MEDIA_URL):
            continue
        try:
            head, size = await _fetch(session, url, limit)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"{where}: could not be downloaded ({type(error).__name__})"
        if size > limit:
            return f"{where}: larger than {limit // 1_000_000} MB"
        if _format(head) != formats:
            return f"{where}: not {formats}"
    return None


async def _fetch(session: aiohttp.ClientSession, url: str, limit: int) -> tuple[bytes, int]:
    """The first bytes, and how many there were; stops soon after the limit. A URL is asked for in
    the letters that were given, as storage that checks a signature over them wants it."""
    head, size = b"", 0
    for _ in range(MAX_REDIRECTS):
        answering = session.get(exact_url(url), timeout=TIMEOUT, allow_redirects=False)
        async with answering as answer:
            location = answer.headers.get("location")
            if answer.status in REDIRECTS and location:
                url = redirect_target(url, location)
                continue
            answer.raise_for_status()
            async for chunk in answer.content.iter_chunked(1 << 16):
                head += chunk[: FORMAT_BYTES - len(head)]
                size += len(chunk)
                if size > limit:
                    break
            return head, size
    raise ValueError("too many redirects")


def _format(head: bytes) -> str:
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return "JPEG or PNG"
    return "MP4 or MOV" if head[4:8] == b"ftyp" else "unknown"
