"""URLs as they are asked for: path and query in the very letters that were given.

Whoever signed a URL signed its letters. aiohttp's own URLs take one apart and write it anew (%27
becomes ', %7E becomes ~, /%2E%2E/ goes away), and a host that checks the letters then refuses it.
"""

import re
from typing import Final
from urllib.parse import quote

from yarl import URL

_HTTP_URL: Final = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # RFC 3986, 3.1
# All that no URI may have: what is neither reserved nor unreserved nor % (RFC 3986, 2).
_DISALLOWED: Final = re.compile(r"[^!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]+")
_STRIPPED: Final = "".join(map(chr, range(0x21)))  # WHATWG URL, 4.4: left out around a URL,
_REMOVED: Final = str.maketrans("", "", "\t\r\n")  # and within it


def exact_url(url: str) -> URL:
    """This http or https URL, without its fragment. ValueError if it is none.

    Letters that cannot stand in a URL are escaped, those beyond ASCII in UTF-8.
    """
    found = _HTTP_URL.match(url)
    if found is None or not found[2]:
        raise ValueError("not a URL of the web")
    scheme, authority, target = found.groups()
    origin = URL(f"{scheme}://{authority}")
    # All in the path: a query of its own would lose a question mark with nothing behind it.
    return URL.build(
        scheme=origin.scheme,
        authority=origin.raw_authority,
        path=_escape(target if target.startswith("/") else f"/{target}"),
        encoded=True,
    )


def redirect_target(url: str, location: str) -> str:
    """Where a redirect from `url` leads (RFC 3986, 5.2), in the letters of its Location.

    What those may not have is escaped, as browsers do (WHATWG URL): blanks, control characters, and
    bytes that are no ASCII, as they came. What comes out may still be no URL, or a forbidden one.
    """
    reference, *_ = location.strip(_STRIPPED).translate(_REMOVED).partition("#")
    if not _ABSOLUTE.match(reference):
        reference = _resolve(url, reference)
    found = _HTTP_URL.match(reference)
    if found is None:
        return reference
    return f"{found[1]}://{found[2]}{_escape(found[3])}"


def _resolve(url: str, reference: str) -> str:
    found = _HTTP_URL.match(url)
    if found is None:
        raise ValueError("not a URL of the web")
    scheme, authority, target = found.groups()
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
    """A path that is relative to another one, with what stands behind it; without . and .. (RFC
    3986, 5.2.4)."""
    relative, mark, query = reference.partition("?")
    steps: list[str] = []
    for step in f"{path.rpartition('/')[0]}/{relative}".split("/")[1:]:
        if step == "..":
            del steps[-1:]
        elif step != ".":
            steps.append(step)
    if relative.rpartition("/")[2] in {".", ".."}:
        steps.append("")
    return f"/{'/'.join(steps)}{mark}{query}"


def _escape(target: str) -> str:
    return _DISALLOWED.sub(lambda found: quote(found[0].encode("utf-8", "surrogateescape")), target)
