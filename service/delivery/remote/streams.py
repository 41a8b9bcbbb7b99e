"""Publishing to streams, NATS JetStream and Redis: whatever comes of it is a value.

Nothing else imports the two protocols (nats.py, redis_stream.py) or their connections' pool.

A connection is made by name and through the SSRF guard, and never mended: after anything that went
wrong the next publish dials anew, so that each dial meets the same rule (promise 10).
"""

import asyncio
import os
import socket
import ssl
from functools import cached_property
from time import perf_counter
from types import MappingProxyType
from typing import Final, Self
from urllib.parse import urlsplit

from service.delivery.remote.nats import NatsConnection
from service.delivery.remote.outcomes import Failed, Published, printable
from service.delivery.remote.redis_stream import RedisConnection
from service.delivery.remote.stream_connection import (
    ConnectionClosed,
    ProtocolError,
    ServerRefusal,
    StreamConnection,
    StreamMessage,
    StreamServer,
)
from service.delivery.remote.stream_pool import StreamPool
from service.kit.network.ssrf_guard import AddressGuard, BlockedAddress
from service.kit.network.url_policy import STREAM_PORTS

IDLE_SECONDS: Final = 60.0  # an unused connection is kept; servers keep theirs for minutes
MAX_CONNECTIONS: Final = 256  # in the pool; those in use may be more

# By the URL's scheme.
_PROTOCOLS: Final = MappingProxyType[str, type[StreamConnection]](
    {
        "nats": NatsConnection,
        "tls": NatsConnection,
        "redis": RedisConnection,
        "rediss": RedisConnection,
    }
)
# Most particular first.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (BlockedAddress, "blocked"),
    (ServerRefusal, "refused"),
    (ProtocolError, "protocol"),
    (ConnectionClosed, "reset"),
    (socket.gaierror, "dns"),
    (ssl.SSLError, "tls"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "connect"),
    (ConnectionError, "reset"),
    (OSError, "connect"),
    (ValueError, "request"),
    (RuntimeError, "reset"),  # uvloop's error for using a closed transport
)
_FAILURES: Final = tuple(kind for kind, _ in _REASONS)


class StreamPublisher:
    """Publishes to streams. Make it inside the running loop; nothing is taken from the environment.

    Unless `allow_plaintext`, what is not encrypted goes to addresses in allowed networks only.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        allow_plaintext: bool = False,
        idle_seconds: float = IDLE_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._plaintext_guard = guard if allow_plaintext else guard.only_allowed_networks()
        self._given_tls = tls
        self._pool = StreamPool(self._dial, idle_seconds, max_connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; nothing is published after this."""
        await self._pool.aclose()

    async def publish(
        self,
        url: str,
        credentials: tuple[str | None, str | None],
        channel: str,
        message: StreamMessage,
        timeout_seconds: float,
    ) -> Published | Failed:
        """Publish a message once, within `timeout_seconds` from name to acknowledgement.

        `url` names the server; `credentials` are a user name and a password, or None and a token;
        `channel` is a subject of NATS or a key of Redis. Without an acknowledgement the stream may
        have the entry all the same: another attempt repeats it under the same id.
        """
        started = perf_counter()  # a loop's own clock may count whole milliseconds (uvloop)
        try:
            async with asyncio.timeout(timeout_seconds):
                with self._pool.use(_server(url, *credentials)) as pooled:
                    connection = await pooled.connect()
                    acknowledgement = await connection.publish(channel, message)
        except _FAILURES as error:
            return _failed(error, credentials, perf_counter() - started)
        return Published(acknowledgement, perf_counter() - started)

    async def _dial(self, server: StreamServer) -> StreamConnection:
        guard = self._guard if server.encrypted else self._plaintext_guard
        return await _PROTOCOLS[server.scheme].open(guard, server, self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()


def _server(url: str, username: str | None, password: str | None) -> StreamServer:
    """The server that this URL names; ValueError if it names none."""
    parts = urlsplit(url)
    if parts.scheme not in STREAM_PORTS or not parts.hostname:
        raise ValueError("not the URL of a stream's server")
    port = parts.port or STREAM_PORTS[parts.scheme]
    database = int(parts.path.strip("/") or 0)
    return StreamServer(parts.scheme, parts.hostname, port, database, username, password)


def _failed(error: Exception, credentials: tuple[str | None, str | None], latency: float) -> Failed:
    reason = next(name for kind, name in _REASONS if isinstance(error, kind))
    detail = _detail(reason, error)
    for secret in filter(None, credentials):  # Redis repeats what it does not understand
        detail = detail.replace(secret, "…")
    return Failed(reason, printable(detail), latency)


def _detail(reason: str, error: Exception) -> str:
    """The failure in words, without an address or a URL."""
    match reason:
        case "timeout":
            return "no acknowledgement in time"
        case "reset":
            return "the connection ended before an acknowledgement"
        case "request":
            return "this URL, this channel or one of these headers cannot be used"
        case "connect":
            errno = getattr(error, "errno", None)
            return os.strerror(errno) if errno else "no connection"
        case "refused" | "protocol" | "blocked":
            return str(error)
        case _:
            return getattr(error, "strerror", None) or str(error)
