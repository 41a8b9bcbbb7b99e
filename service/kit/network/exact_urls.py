"""URLs that are requested exactly as they were given, character by character.

A signed URL is signed as it is written. aiohttp's own URLs are normalised (%27 becomes ', %7E
becomes ~, /%2E%2E/ goes away), and a host that checks the signature refuses the result.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from yarl import URL

MAX_PARSED: Final = 4096  # URLs that are kept as they were parsed last; a few kB each

_HTTP_URL: Final = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # RFC 3986, 3.1
# What no URI may have: characters that are not reserved, unreserved or % (RFC 3986, 2).
_DISALLOWED: Final = re.compile(r"[^!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]+")
_STRIPPED: Final = "".join(map(chr, range(0x21)))  # WHATWG URL, 4.4: removed at both ends,
_REMOVED: Final = str.maketrans("", "", "\t\r\n")  # and inside


@lru_cache(MAX_PARSED)
def exact_url(url: str) -> URL:
    """An http or https URL for aiohttp, without its fragment; ValueError if it is no such URL.

    Characters that cannot stand in a URL are percent-encoded, those beyond ASCII as UTF-8.
    """
    match = _HTTP_URL.match(url)
    if match is None or not match[2]:
        raise ValueError("not a URL of the web")
    scheme, authority, target = match.groups()
    origin = URL(f"{scheme}://{authority}")
    # The query is part of `path`: by itself it would lose a question mark with nothing behind it.
    return URL.build(
        scheme=origin.scheme,
        authority=origin.raw_authority,
        path=_escape(target if target.startswith("/") else f"/{target}"),
        encoded=True,
    )


def redirect_target(url: str, location: str) -> str:
    """The URL that a redirect from `url` leads to (RFC 3986, 5.2), as its Location writes it.

    Blanks, control characters, and bytes beyond ASCII are percent-encoded, as browsers do (WHATWG
    URL). The result may still be no URL, or one that must not be called.
    """
    reference, *_ = location.strip(_STRIPPED).translate(_REMOVED).partition("#")
    if not _ABSOLUTE.match(reference):
        reference = _resolve(url, reference)
    match = _HTTP_URL.match(reference)
    if match is None:
        return reference
    return f"{match[1]}://{match[2]}{_escape(match[3])}"


def _resolve(url: str, reference: str) -> str:
    match = _HTTP_URL.match(url)
    if match is None:
        raise ValueError("not a URL of the web")
    scheme, authority, target = match.groups()
    path, *_ = target.partition("?")
    if not reference:
        return url
    if reference.startswith("//"):
        return f"{scheme}:{reference}"
    if reference.startswith("?"):
        return f"{scheme}://{authority}{path or '/'}{reference}"
    if not reference.startswith("/"):
        reference = _merge_paths(path, reference)
    return f"{scheme}://{authority}{reference}"


def _merge_paths(path: str, reference: str) -> str:
    """Path and query of a relative reference, merged with a base path and without dot segments (RFC
    3986, 5.2.3 and 5.2.4)."""
    relative, mark, query = reference.partition("?")
    segments: list[str] = []
    for segment in f"{path.rpartition('/')[0]}/{relative}".split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if relative.rpartition("/")[2] in {".", ".."}:
        segments.append("")
    return f"/{'/'.join(segments)}{mark}{query}"


def _escape(target: str) -> str:
    return _DISALLOWED.sub(lambda match: quote(match[0].encode("utf-8", "surrogateescape")), target)
