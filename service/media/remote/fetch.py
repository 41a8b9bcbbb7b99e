"""Fetching images and videos from callers' URLs: bounded in bytes and time, with redirects.

Every hop passes the SSRF guard (`kit/network/ssrf_guard.py`). What goes wrong is a value, not an
error. URLs are requested in the very letters given: rule P99 of service/provider/README.md.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from service.kit.content_codings import is_encoded
from service.kit.network.bounded_http import UnreadableAnswer
from service.kit.network.exact_urls import exact_url, redirect_target
from service.kit.network.ssrf_guard import AddressGuard, BlockedAddress
from service.kit.network.url_policy import check_url
from service.media.domain.defects import Defect

MAX_PIECE: Final = 65_536  # bytes handed on at a time
MAX_REDIRECTS: Final = 5  # ours; storage services need one or two
IDLE_SECONDS: Final = 15.0  # ours; to connect, and then without a byte
# A slower host would hold one of the worker's places for as long as a fetch may take.
MIN_RATE: Final = 20_000  # bytes a second, on average; ours: 10 MB in a minute are eight times it
MIN_RATE_AFTER: Final = 10.0  # seconds from the start of the body

OK: Final = 200
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
NOT_FOUND: Final = frozenset({404, 410})
# Request Timeout (RFC 9110), Too Early (RFC 8470), Too Many Requests (RFC 6585).
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
SERVER_ERRORS: Final = 500

Consumer = Callable[[bytes], Awaitable[bool]]  # takes the next bytes; returns whether it wants more


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came, whole or as far as its consumer wanted it."""

    size: int  # bytes


def _unreachable(reason: str) -> Defect:
    return Defect("unreachable", f"could not be fetched: {reason}", transient=True)


TIMED_OUT: Final = _unreachable("it took too long")
_CONNECTION_LOST: Final = _unreachable("the connection ended before its last byte")
_TOO_MANY_REDIRECTS: Final = Defect("redirect", f"is redirected more than {MAX_REDIRECTS} times")
_NO_LOCATION: Final = Defect("redirect", "is redirected without a Location header")
_TLS_DOWNGRADE: Final = Defect("redirect", "is redirected from https to http")
_INVALID_URL: Final = Defect("url", "is not a URL that can be requested")
_NOT_HTTP: Final = Defect("protocol", "could not be fetched: the answer is not HTTP")
_ENCODED: Final = Defect(
    "encoded", "could not be fetched: the answer is compressed, although that was not requested"
)

# What aiohttp and asyncio raise, subclasses first.
_FAILURES: Final[tuple[tuple[type[Exception], Defect | str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "its host name cannot be resolved"),
    (aiohttp.ClientSSLError, "TLS with its host fails"),
    (aiohttp.ClientConnectorError, "no connection"),
    (TimeoutError, TIMED_OUT),
    (UnreadableAnswer, _NOT_HTTP),
    (aiohttp.ClientPayloadError, _CONNECTION_LOST),
    (aiohttp.ClientResponseError, _NOT_HTTP),
    (aiohttp.NonHttpUrlClientError, _INVALID_URL),
    (ValueError, _INVALID_URL),  # InvalidURL
    (OSError, _CONNECTION_LOST),
    (aiohttp.ServerDisconnectedError, _CONNECTION_LOST),
    (RuntimeError, _CONNECTION_LOST),  # uvloop, for a closed transport
    (aiohttp.ClientError, _NOT_HTTP),
)
_ERRORS: Final = tuple(error for error, _ in _FAILURES)


class Fetcher:
    """An HTTP client for callers' URLs; it is made and used inside the running loop.

    `idle_seconds` bounds a connect, and each wait for further bytes. `tls` None: the system's.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        idle_seconds: float = IDLE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=idle_seconds, sock_read=idle_seconds
        )
        self._session = guard.session({"Accept": "*/*"}, timeout, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(
        self, url: str, consume: Consumer, *, max_bytes: int, timeout_seconds: float
    ) -> Fetched | Defect:
        """GET a file within `timeout_seconds`, from resolving its host to its last byte.

        `consume` gets the bytes in order, in pieces of at most MAX_PIECE; of a file with more than
        `max_bytes`, no more than those. What it returns names neither the URL nor what the host
        answered, but for the HTTP status: either may hold a secret.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._follow_redirects(url, consume, max_bytes)
        except TimeoutError:
            return TIMED_OUT

    async def _follow_redirects(
        self, url: str, consume: Consumer, max_bytes: int
    ) -> Fetched | Defect:
        for _ in range(1 + MAX_REDIRECTS):
            response = await self._get(url)
            if isinstance(response, Defect):
                return response
            # Closing ends the connection, unless the answer was read to its end and it went back.
            with closing(response):
                if response.status not in REDIRECTS:
                    failure = _response_failure(response, max_bytes)
                    return failure or await _read_body(response.content, consume, max_bytes)
                target = _redirect_target(url, response.headers.get("Location"))
            if isinstance(target, Defect):
                return target
            url = target
        return _TOO_MANY_REDIRECTS

    async def _get(self, url: str) -> aiohttp.ClientResponse | Defect:
        """The head of a response. The address that the guard judges is the one that is dialled."""
        if check_url(url, pointer="", https_only=False, allowed=None):
            return _INVALID_URL
        try:
            return await self._session.get(exact_url(url), allow_redirects=False)
        except _ERRORS as error:
            return _failure(error)


def _redirect_target(url: str, location: str | None) -> str | Defect:
    """The URL that a redirect from `url` leads to.

    From https to http none is followed: whoever gave us https was promised that nobody on the way
    reads or changes what is fetched.
    """
    if not location:
        return _NO_LOCATION
    try:
        target = redirect_target(url, location)
        errors = check_url(target, pointer="", https_only=False, allowed=None)
    except ValueError:
        return Defect("redirect", "is redirected to something that is not a URL")
    if errors:
        return Defect(
            "redirect", f"is redirected to a URL that is not fetched: it {errors[0].message}"
        )
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        return _TLS_DOWNGRADE
    return target


def _response_failure(response: aiohttp.ClientResponse, max_bytes: int) -> Defect | None:
    """Why the body of a response is not read; None: it is."""
    status = response.status
    reason = f"its host answers with HTTP status {status}"
    if status in TRANSIENT_STATUSES or status >= SERVER_ERRORS:
        return _unreachable(reason)
    if status != OK:
        code = "not_found" if status in NOT_FOUND else "refused"
        return Defect(code, f"could not be fetched: {reason}")
    if is_encoded(",".join(response.headers.getall("Content-Encoding", []))):
        return _ENCODED
    if response.content_length is not None and response.content_length > max_bytes:
        return _too_large(max_bytes)
    return None


async def _read_body(
    content: aiohttp.StreamReader, consume: Consumer, max_bytes: int
) -> Fetched | Defect:
    size, wanted = 0, True
    started = perf_counter()
    while wanted:
        elapsed = perf_counter() - started
        if elapsed > MIN_RATE_AFTER and size < elapsed * MIN_RATE:
            return TIMED_OUT
        try:
            piece = await content.read(min(MAX_PIECE, max_bytes + 1 - size))
        except _ERRORS as error:
            return _failure(error)
        size += len(piece)
        if size > max_bytes:
            return _too_large(max_bytes)
        wanted = bool(piece) and await consume(piece)
    return Fetched(size)


def _too_large(max_bytes: int) -> Defect:
    return Defect("too_large", f"has more than {max_bytes:,} bytes ({max_bytes // 1_000_000} MB)")


def _failure(error: Exception) -> Defect:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, BlockedAddress):
        return Defect("blocked", f"is not fetched: {cause}")
    failure = next(failure for kind, failure in _FAILURES if isinstance(error, kind))
    if isinstance(failure, Defect):
        return failure
    errno = getattr(cause, "errno", None) or 0
    if failure == "no connection" and errno > 0:
        return _unreachable(os.strerror(errno).lower())
    return _unreachable(failure)
