"""GET /openapi.json, which serves openapi.yaml, and GET /docs, which shows it by page.html."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import orjson
import yaml
from starlette.responses import Response

from service.kit.http.request import Request
from service.kit.http.responses import JSON
from service.request_context import public_path, resources
from service.status.web.conditional import parse_if_none_match

FOLDER = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a PyYAML without libyaml has no C loader
SOURCE: Mapping[str, Any] = yaml.load((FOLDER / "openapi.yaml").read_bytes(), LOADER)  # noqa: S506 - both loaders are safe ones
HTML = "text/html; charset=utf-8"
POLICY = (
    "default-src 'none'; style-src {style}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class CachedDocument:
    """A response that is always the same for one set of settings."""

    body: bytes  # of the response
    media_type: str  # its Content-Type
    tag: str  # the ETag, without its quotes
    headers: Mapping[str, str]  # further headers of the response


async def openapi(request: Request) -> Response:
    """The OpenAPI document as JSON, or 304 if the caller has it."""
    settings, root = resources(request).settings, public_path(request, "/").removesuffix("/")
    return _answer(request, _json(root, allow_voice_for_images=settings.allow_voice_for_images))


async def docs(request: Request) -> Response:
    """The OpenAPI document as an HTML page, or 304 if the caller has it."""
    settings = resources(request).settings
    return _answer(request, _page(allow_voice_for_images=settings.allow_voice_for_images))


def document(root: str = "", *, allow_voice_for_images: bool = False) -> dict[str, Any]:
    """The document as it is served. `root` is the path of PUBLIC_URL, which is before all paths;
    `allow_voice_for_images` is the setting of that name, on which one schema depends."""
    components = SOURCE["components"]
    schemas = components["schemas"]
    if allow_voice_for_images:
        schemas = schemas | {"ImageVoice": schemas["Voice"]}
    return {
        **SOURCE,
        "servers": [{"url": root or "/"}],
        "components": components | {"schemas": schemas},
    }


@cache
def _json(root: str, *, allow_voice_for_images: bool) -> CachedDocument:
    body = orjson.dumps(document(root, allow_voice_for_images=allow_voice_for_images))
    return _cached(body, JSON, {})


@cache
def _page(*, allow_voice_for_images: bool) -> CachedDocument:
    html = page(document(allow_voice_for_images=allow_voice_for_images))
    headers = {
        "content-security-policy": POLICY.format(style=_style_hash(html)),
        "x-content-type-options": "nosniff",
    }
    return _cached(html.encode(), HTML, headers)


def page(shown: Mapping[str, Any]) -> str:
    """A document as an HTML page without scripts, which fetches nothing."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = _indented
    template = environment.from_string((FOLDER / "page.html").read_text())
    return template.render(document=shown, found=lambda part: _resolved(shown, part))


def _resolved(shown: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a document that a `$ref` leads to; a part without one is returned itself."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    target: Mapping[str, Any] = shown["components"][kind][name]
    return target


def _indented(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _style_hash(html: str) -> str:
    """The hash by which a Content-Security-Policy allows the page's style."""
    _, _, rest = html.partition("<style>")
    style, _, _ = rest.partition("</style>")
    digest = hashlib.sha256(style.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _cached(body: bytes, media_type: str, headers: Mapping[str, str]) -> CachedDocument:
    return CachedDocument(body, media_type, hashlib.sha256(body).hexdigest(), headers)


def _answer(request: Request, cached: CachedDocument) -> Response:
    headers = {**cached.headers, "etag": f'"{cached.tag}"', "cache-control": "no-cache"}
    if parse_if_none_match(request.headers).matches(cached.tag):
        return Response(None, 304, headers)
    return Response(cached.body, 200, headers, cached.media_type)
