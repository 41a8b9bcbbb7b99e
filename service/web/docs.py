"""/openapi.json, and /docs, which shows it: built once, open to all, and whole in themselves."""

import hashlib
from dataclasses import dataclass
from functools import cache

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.web.conditional import had
from service.web.openapi import page
from service.web.openapi.build import document
from service.web.requests import outside, resources
from service.web.responses import JSON

HTML = "text/html; charset=utf-8"
POLICY = (
    f"default-src 'none'; style-src {page.style_hash()}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that stay as they are."""

    body: bytes
    kind: str
    tag: str  # without its quotes


def _kept(body: bytes, kind: str) -> Kept:
    return Kept(body, kind, hashlib.sha256(body).hexdigest())


async def openapi(request: Request) -> Response:
    root = outside(request, "/").removesuffix("/")
    return _answer(request, _document(root, voice_for_images=_voice_for_images(request)), {})


async def docs(request: Request) -> Response:
    headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
    return _answer(request, _page(voice_for_images=_voice_for_images(request)), headers)


def _voice_for_images(request: Request) -> bool:
    return resources(request).settings.voice_for_images


@cache
def _document(root: str, *, voice_for_images: bool) -> Kept:
    return _kept(orjson.dumps(document(root, voice_for_images=voice_for_images)), JSON)


@cache
def _page(*, voice_for_images: bool) -> Kept:
    shown = page.page(document(voice_for_images=voice_for_images))
    return _kept(shown.encode(), HTML)


def _answer(request: Request, kept: Kept, headers: dict[str, str]) -> Response:
    headers = {**headers, "etag": f'"{kept.tag}"', "cache-control": "no-cache"}
    if had(request.headers).has(kept.tag):
        return Response(None, 304, headers)
    return Response(kept.body, 200, headers, kept.kind)
