"""Fetching what a caller's URL leads to: bounded in bytes and time, through the guard at every hop;
whatever comes of it is a value."""

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

MAX_PIECE: Final = 65_536  # bytes handed on at a time, at most
MAX_REDIRECTS: Final = 5  # ours; storage services need one or two
IDLE_SECONDS: Final = 15.0  # ours; without a connection, or then without a byte
# Whoever is slower than this after a while would hold a place for as long as it may take in all.
MIN_RATE: Final = 20_000  # bytes a second, on average; ours: 10 MB in a minute are eight times it
MIN_RATE_AFTER: Final = 10.0  # seconds

OK: Final = 200
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
NOT_FOUND: Final = frozenset({404, 410})
# RFC 9110, section 15.5.9; RFC 8470, section 5.2; RFC 6585, section 4: each says "not now".
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
SERVER_ERRORS: Final = 500

Consumer = Callable[[bytes], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """It came, whole or as far as it was wanted: so many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """It did not come. `code` is one of unreachable, not_found, refused, blocked, redirect,
    encoded, protocol, url and too_large; `message` completes a sentence about it, and names neither
    the URL nor anything that the server said but its status. `passing`: it may come the next time.
    """

    code: str
    message: str
    passing: bool = False


TIMED_OUT: Final = FetchFailure(
    "unreachable", "could not be fetched: it took too long", passing=True
)
_CONNECTION_LOST: Final = FetchFailure(
    "unreachable", "could not be fetched: the connection ended before its last byte", passing=True
)
_TOO_MANY_REDIRECTS: Final = FetchFailure(
    "redirect", f"is redirected more than {MAX_REDIRECTS} times"
)
_NO_LOCATION: Final = FetchFailure("redirect", "is redirected, but not said where to")
_TLS_DOWNGRADE: Final = FetchFailure("redirect", "is redirected from https to http")
_INVALID_URL: Final = FetchFailure("url", "is not a URL that can be asked for")
_NOT_HTTP: Final = FetchFailure("protocol", "could not be fetched: the answer is not HTTP")
_ENCODED: Final = FetchFailure(
    "encoded", "could not be fetched: it comes compressed, though that was not asked for"
)

# What aiohttp and asyncio raise, most particular first.
_FAILURES: Final[tuple[tuple[type[Exception], FetchFailure | str], ...]] = (
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
    (RuntimeError, _CONNECTION_LOST),  # uvloop's word for using a closed transport
    (aiohttp.ClientError, _NOT_HTTP),
)
_RAISED: Final = tuple(kind for kind, _ in _FAILURES)


class Fetcher:
    """Use it inside the running loop. What a redirect leads to is asked for by nobody but
    `fetch`."""

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
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def fetch(
        self, url: str, feed: Consumer, *, most: int, seconds: float
    ) -> Fetched | FetchFailure:
        """GET, within `seconds` from the first name to the last byte.

        `feed` is given the bytes in order, in pieces of at most PIECE, and says whether it wants
        more; of what has more than `most` bytes it is given no more than those.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._followed(url, feed, most)
        except TimeoutError:
            return TIMED_OUT

    async def _followed(self, url: str, feed: Consumer, most: int) -> Fetched | FetchFailure:
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._asked(url)
            if isinstance(answer, FetchFailure):
                return answer
            # Closing ends the connection, unless the answer was read to its end and it went back.
            with closing(answer):
                if answer.status not in REDIRECTS:
                    return _response_failure(answer, most) or await _read_body(
                        answer.content, feed, most
                    )
                led = _redirect_target(url, answer.headers.get("Location"))
            if isinstance(led, FetchFailure):
                return led
            url = led
        return _TOO_MANY_REDIRECTS

    async def _asked(self, url: str) -> aiohttp.ClientResponse | FetchFailure:
        """The head of the answer. The address that the guard judges is the one that is dialled."""
        if check_url(url, pointer="", https_only=False, allowed=None):
            return _INVALID_URL
        try:
            return await self._session.get(exact_url(url), allow_redirects=False)
        except _RAISED as error:
            return _failure(error)


def _redirect_target(url: str, location: str | None) -> str | FetchFailure:
    """Where a redirect leads, relative to where it was met.

    From https to http none is followed: whoever gave us https was promised that nobody on the way
    reads or changes what is fetched.
    """
    if not location:
        return _NO_LOCATION
    try:
        led = redirect_target(url, location)
        flaws = check_url(led, pointer="", https_only=False, allowed=None)
    except ValueError:
        return FetchFailure("redirect", "is redirected to what is not a URL")
    if flaws:
        return FetchFailure(
            "redirect", f"is redirected to where nothing is fetched: {flaws[0].message}"
        )
    if urlsplit(url).scheme == "https" and urlsplit(led).scheme != "https":
        return _TLS_DOWNGRADE
    return led


def _response_failure(answer: aiohttp.ClientResponse, most: int) -> FetchFailure | None:
    """Why the body of this answer is not read."""
    status = answer.status
    said = f"could not be fetched: its host answers with HTTP status {status}"
    if status in TRANSIENT_STATUSES or status >= SERVER_ERRORS:
        return FetchFailure("unreachable", said, passing=True)
    if status in NOT_FOUND:
        return FetchFailure("not_found", said)
    if status != OK:
        return FetchFailure("refused", said)
    if is_encoded(",".join(answer.headers.getall("Content-Encoding", []))):
        return _ENCODED
    if answer.content_length is not None and answer.content_length > most:
        return _too_large(most)
    return None


async def _read_body(
    content: aiohttp.StreamReader, feed: Consumer, most: int
) -> Fetched | FetchFailure:
    size, wanted = 0, True
    begun = perf_counter()
    while wanted:
        spent = perf_counter() - begun
        if spent > MIN_RATE_AFTER and size < spent * MIN_RATE:
            return TIMED_OUT
        try:
            piece = await content.read(min(MAX_PIECE, most + 1 - size))  # nothing at the end
        except _RAISED as error:
            return _failure(error)
        size += len(piece)
        if size > most:
            return _too_large(most)
        wanted = bool(piece) and await feed(piece)
    return Fetched(size)


def _too_large(most: int) -> FetchFailure:
    return FetchFailure("too_large", f"has more than {most:,} bytes ({most // 1_000_000} MB)")


def _failure(error: Exception) -> FetchFailure:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, BlockedAddress):
        return FetchFailure("blocked", f"is not fetched: {cause}")
    found = next(what for kind, what in _FAILURES if isinstance(error, kind))
    if isinstance(found, FetchFailure):
        return found
    errno = getattr(cause, "errno", None) or 0
    plain = isinstance(error, aiohttp.ClientConnectorError) and errno > 0
    why = os.strerror(errno).lower() if plain and found == "no connection" else found
    return FetchFailure("unreachable", f"could not be fetched: {why}", passing=True)
