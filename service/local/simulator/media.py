"""Media given by URL: downloaded, limited in size, recognized by its first bytes."""

import hashlib
from collections.abc import Iterator
from typing import Any

import aiohttp

from service.kit.network.exact_urls import exact_url, redirect_target
from service.media.remote.fetch import REDIRECTS

MAX_IMAGE = 10_000_000  # bytes; rule P16
MAX_VIDEO = 200_000_000  # bytes; rule P18
FORMAT_BYTES = 12  # of a file, by which its format is recognized
MAX_REDIRECTS = 10
STORED_MEDIA_URL = (
    "https://media.invalid/"  # prefix of the URL that stands for media sent as Base64
)
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5, sock_read=10)


def image_fields(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The place of each image in the request, as text for people, and its URL or Base64."""
    listed = request.get("element_image_list") or {}
    yield "frontal_image", listed.get("frontal_image", "")
    for index, other in enumerate(listed.get("refer_images") or []):
        yield f"refer_images[{index}]", other.get("image_url", "")


def video_fields(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The place of each video in the request, as text for people, and its URL."""
    listed = request.get("element_video_list") or {}
    for index, video in enumerate(listed.get("refer_videos") or []):
        yield f"refer_videos[{index}]", video.get("video_url", "")


def is_url(text: str) -> bool:
    """Whether the text is a URL; anything else is Base64."""
    return text[:8].lower().startswith(("http://", "https://"))


def public_url(text: str) -> str:
    """The URL by which a response shows an image, made up if the image came as Base64."""
    if not text or is_url(text):
        return text
    return STORED_MEDIA_URL + hashlib.sha256(text.encode()).hexdigest()[:24]


def without_base64(request: dict[str, Any]) -> dict[str, Any]:
    """The request with made-up URLs in place of Base64."""
    listed = request.get("element_image_list")
    if not isinstance(listed, dict):
        return request
    others = [
        {"image_url": public_url(image["image_url"])} for image in listed.get("refer_images") or []
    ]
    shown = {"frontal_image": public_url(listed.get("frontal_image", "")), "refer_images": others}
    return {**request, "element_image_list": shown}


async def media_problem(session: aiohttp.ClientSession, request: dict[str, Any]) -> str | None:
    """Download the media given by URL, one after the other; why one is invalid, or None."""
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
    """The first bytes and the size; stops soon after the limit. The URL is requested letter for
    letter, as storage may check a signature over it."""
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
