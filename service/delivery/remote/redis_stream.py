"""A publisher to a Redis or Valkey stream: XADD over the protocol RESP2 (redis.io, "RESP protocol
specification").

Written out here, as the published client has one command under way on a connection, and keeps
what a server sends without bound.

The key is the operator's: nothing is trimmed, since others may still read what is in it. XADD has
no way to tell a repetition, and an id of ours would have to be greater than all before it: who
must not act twice looks at the field `id`.
"""

import asyncio
import re
import ssl
from collections import deque
from typing import Final, Self

from service.delivery.remote.stream_connection import (
    ConnectionClosed,
    ProtocolError,
    ServerRefusal,
    StreamConnection,
    StreamMessage,
    StreamServer,
    words,
)
from service.kit.network.ssrf_guard import AddressGuard

ENTRY_ID: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")  # redis.io, "Redis Streams"
# What another server of the same name, or this one later, may not say: dial anew.
PASSING: Final = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN")
ELSEWHERE: Final = ("MOVED", "ASK")  # these name an address that is not for us to dial


class RedisConnection(StreamConnection):
    """Answers come in the order of the commands."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[asyncio.Future[bytes]] = deque()

    @classmethod
    async def open(cls, guard: AddressGuard, server: StreamServer, tls: ssl.SSLContext) -> Self:
        """A connection that the server has let in; the caller bounds the time.

        OSError, ConnectionClosed, ProtocolError or ServerRefusal if there is none.
        """
        connection = await guard.dial(
            cls, server.host, server.port, tls if server.encrypted else None
        )
        try:
            for command in _hello(server):
                await connection._ask(command)  # noqa: SLF001 - its own
        except BaseException:
            connection.end(ConnectionClosed())
            raise
        return connection

    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Add a message to the stream at this key, and return the id it has there."""
        fields = {**message.headers, "id": message.id, "type": message.type}
        pairs = [text.encode() for pair in fields.items() for text in pair]
        receipt = await self._ask([b"XADD", channel.encode(), b"*", *pairs, b"body", message.body])
        if not ENTRY_ID.fullmatch(receipt):
            raise ProtocolError("this is not the id of an entry")
        return receipt

    async def _ask(self, command: list[bytes]) -> bytes:
        await self._writable()
        future = self._future()
        self._waiting.append(future)
        self._write(_packed(command))
        return await future

    def _take_reply(self) -> bool:
        line = self._line()
        if line is None:
            return False
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            payload = self._payload(line, rest)
            if payload is None:
                return False
            self._answered(payload)
            return True
        self._consume(line)
        match kind:
            case b"+" | b":":
                self._answered(rest)
            case b"-":
                self._answered(self._refused(words(rest)))
            case _:
                raise ProtocolError("this is not Redis")
        return True

    def _answered(self, answer: bytes | ServerRefusal) -> None:
        if self._waiting:
            self._resolve(self._waiting.popleft(), answer)
        elif isinstance(answer, ServerRefusal):
            raise answer  # too many clients, for one
        else:
            raise ProtocolError("an answer that nobody asked for")

    def _refused(self, text: str) -> ServerRefusal:
        code = text.partition(" ")[0]
        self.spent = self.spent or code in PASSING
        return ServerRefusal(f"{code}: the key is on another server" if code in ELSEWHERE else text)


def _hello(server: StreamServer) -> list[list[bytes]]:
    commands = []
    if server.username is not None or server.password is not None:
        who = [] if server.username is None else [server.username.encode()]
        commands.append([b"AUTH", *who, (server.password or "").encode()])
    if server.database:
        commands.append([b"SELECT", b"%d" % server.database])
    return commands


def _packed(command: list[bytes]) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))
