"""Webhooks: one signed POST to a subscriber, bounded in time and size, without redirects.

Whatever comes back is a value; delivery/steps/record.py decides what follows from it.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import closing
from time import perf_counter
from typing import Final, Self

import aiohttp

from service.delivery.remote.outcomes import Answered, Failed, printable
from service.kit.network.exact_urls import exact_url
from service.kit.network.ssrf_guard import AddressGuard, BlockedAddress

MAX_BODY: Final = 20_000  # bytes kept of an answer's body; enough to see why it was refused

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
    (RuntimeError, "reset"),  # uvloop's error for writing to a closed transport
)


class WebhookSender:
    """Posts to subscribers and keeps their connections alive; follows no redirect. Make it inside
    the running loop."""

    def __init__(self, guard: AddressGuard, *, tls: ssl.SSLContext | None = None) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        self._session = guard.session({}, timeout, tls)
        self._allowed_networks_session = guard.only_allowed_networks().session({}, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; nothing is sent after this."""
        await self._session.close()
        await self._allowed_networks_session.close()

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_seconds: float,
        *,
        only_allowed_networks: bool = False,
    ) -> Answered | Failed:
        """Send a message once, within `timeout_seconds` from name to last byte.

        If `only_allowed_networks`, it goes only to addresses in networks that are allowed although
        private.

        Once a status has come it stands, even if the rest breaks off or never ends. A kept
        connection that the subscriber was just closing fails as "reset" and is not sent again
        from here: what goes out is what is on record, and the schedule tries again.
        """
        started = perf_counter()  # a loop's own clock may count whole milliseconds (uvloop)
        body_read = bytearray()
        session = self._allowed_networks_session if only_allowed_networks else self._session
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                sending = session.post(
                    exact_url(url), headers=headers, data=body, allow_redirects=False
                )
                # Closing ends the connection, unless it was read to its end and went back.
                with closing(await sending) as response:
                    await _read_body(response.content, body_read)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            if response is None:
                return _failed(error, perf_counter() - started)
        retry_after = response.headers.get("Retry-After")
        return Answered(response.status, retry_after, bytes(body_read), perf_counter() - started)


async def _read_body(content: aiohttp.StreamReader, read: bytearray) -> None:
    while part := await content.read(MAX_BODY - len(read)):  # nothing at the end, or of 0
        read += part


def _failed(error: Exception, latency: float) -> Failed:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, BlockedAddress):
        error = cause
    reason = next((name for kind, name in _REASONS if isinstance(error, kind)), "protocol")
    return Failed(reason, printable(_detail(reason, cause)), latency)


def _detail(reason: str, cause: Exception) -> str:
    """The failure in words. Only causes that cannot quote the URL, whose path may be a secret, are
    quoted."""
    match reason:
        case "timeout":
            return "no answer in time"
        case "reset":
            return "the connection ended before an answer"
        case "request":
            return "this URL or one of these headers cannot be sent"
        case "protocol":
            return getattr(cause, "message", "") or "the answer is not HTTP"
        case _ if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno)  # asyncio's own text names the address
        case _:
            return getattr(cause, "strerror", None) or str(cause)
