"""One signed POST to a subscriber, bounded in time and size; whatever comes back is a value."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import closing
from time import perf_counter
from typing import Final, Self

import aiohttp

from service.delivery.remote.outcomes import Answered, Failed
from service.kit.network.exact_urls import exact_url
from service.kit.network.ssrf_guard import AddressGuard, BlockedAddress

KEPT_BYTES: Final = 20_000  # of an answer's body; enough to see why it was refused
KEPT_DETAIL: Final = 200  # characters of a failure's description


# What aiohttp and asyncio raise, most particular first.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (BlockedAddress, "blocked"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientResponseError, "protocol"),
    (aiohttp.NonHttpUrlClientError, "request"),
    (ValueError, "request"),  # InvalidURL, and header values that cannot be sent
    (OSError, "reset"),
    (aiohttp.ServerDisconnectedError, "reset"),
    (RuntimeError, "reset"),  # uvloop's word for writing to a closed transport
)


class WebhookSender:
    """Posts to subscribers and keeps their connections alive. Make it inside the running loop. No
    redirect is followed."""

    def __init__(self, guard: AddressGuard, *, tls: ssl.SSLContext | None = None) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        self._session = guard.session({}, timeout, tls)
        self._inward = guard.inward().session({}, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._inward.close()

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_seconds: float,
        *,
        inward: bool = False,
    ) -> Answered | Failed:
        """Send a message once, within `timeout_seconds` from name to last byte.

        If `inward`, it goes only to addresses in the networks that are allowed although private.

        Once a status has come it stands, even if the rest breaks off or never ends. A kept
        connection that the subscriber was just closing fails as "reset" and is not sent again
        from here: what goes out is what is on record, and the schedule tries again.
        """
        started = perf_counter()  # a loop's own clock may count whole milliseconds (uvloop)
        kept = bytearray()
        session = self._inward if inward else self._session
        answer: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                request = session.post(
                    exact_url(url), headers=headers, data=body, allow_redirects=False
                )
                # Closing ends the connection, unless it was read to its end and went back.
                with closing(await request) as answer:
                    await _keep(answer.content, kept)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            if answer is None:
                return _failed(error, perf_counter() - started)
        retry_after = answer.headers.get("Retry-After")
        return Answered(answer.status, retry_after, bytes(kept), perf_counter() - started)


async def _keep(content: aiohttp.StreamReader, kept: bytearray) -> None:
    while part := await content.read(KEPT_BYTES - len(kept)):  # nothing at the end, or of 0
        kept += part


def _failed(error: Exception, latency: float) -> Failed:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, BlockedAddress):
        error = cause
    reason = next((name for kind, name in _REASONS if isinstance(error, kind)), "protocol")
    return Failed(reason, _detail(reason, cause), latency)


def _detail(reason: str, cause: Exception) -> str:
    """In words. Only causes that cannot quote the URL, whose path may be a secret, speak."""
    match reason:
        case "timeout":
            return "no answer in time"
        case "reset":
            return "the connection ended before an answer"
        case "request":
            return "this URL or one of these headers cannot be sent"
        case "protocol":
            text = getattr(cause, "message", "") or "the answer is not HTTP"
        case _:
            text = getattr(cause, "strerror", None) or str(cause)
            if isinstance(cause, OSError) and (cause.errno or 0) > 0:
                text = os.strerror(cause.errno or 0)  # asyncio's own words name the address
    return "".join(sign if sign.isprintable() else " " for sign in text)[:KEPT_DETAIL]
