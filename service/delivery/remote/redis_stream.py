"""Redis and Valkey streams: publishing, by XADD over RESP2 (redis.io, "RESP protocol
specification").

Written out here, as the published client has one command under way on a connection, and keeps
what a server sends without limit.

The stream is the operator's: nothing is trimmed, since others may still read what is in it. XADD
cannot recognise a repetition, and an entry id of ours would have to be greater than all before it:
a reader that must not act twice compares the field `id`.
"""

import asyncio
import re
import ssl
from collections import deque
from typing import Final

from service.delivery.remote.stream_connection import (
    ProtocolError,
    ServerRefusal,
    StreamConnection,
    StreamMessage,
    StreamServer,
    decode_text,
)

ENTRY_ID: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")  # redis.io, "Redis Streams"
# Error codes that another server of the same name, or this one later, may not give: dial anew.
TRANSIENT: Final = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN")
REDIRECTIONS: Final = ("MOVED", "ASK")  # these name an address that is not for us to dial


class RedisConnection(StreamConnection):
    """A connection to a Redis server. Replies come in the order of the commands."""

    implicit_tls = True

    def __init__(self) -> None:
        super().__init__()
        self._pending: deque[asyncio.Future[bytes]] = deque()

    async def sign_in(self, server: StreamServer, tls: ssl.SSLContext) -> None:  # noqa: ARG002 - is under TLS already
        """Send AUTH and SELECT, as far as the server's URL and credentials ask for them."""
        if server.username is not None or server.password is not None:
            user = [] if server.username is None else [server.username.encode()]
            await self._execute([b"AUTH", *user, (server.password or "").encode()])
        if server.database:
            await self._execute([b"SELECT", b"%d" % server.database])

    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Add a message to the stream at the key `channel`, and return the id of its entry."""
        fields = {**message.headers, "id": message.id, "type": message.type}
        pairs = [text.encode() for pair in fields.items() for text in pair]
        command = [b"XADD", channel.encode(), b"*", *pairs, b"body", message.body]
        entry_id = await self._execute(command)
        if not ENTRY_ID.fullmatch(entry_id):
            raise ProtocolError("this is not the id of an entry")
        return entry_id

    async def _execute(self, command: list[bytes]) -> bytes:
        await self._wait_writable()
        future = self._future()
        self._pending.append(future)
        self._write(_encode_command(command))
        return await future

    def _read_reply(self) -> bool:
        line = self._peek_line()
        if line is None:
            return False
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            payload = self._read_payload(line, rest)
            if payload is None:
                return False
            self._handle_reply(payload)
            return True
        self._drop_line(line)
        match kind:
            case b"+" | b":":
                self._handle_reply(rest)
            case b"-":
                self._handle_reply(self._refusal(decode_text(rest)))
            case _:
                raise ProtocolError("this is not Redis")
        return True

    def _handle_reply(self, answer: bytes | ServerRefusal) -> None:
        if self._pending:
            self._resolve(self._pending.popleft(), answer)
        elif isinstance(answer, ServerRefusal):
            raise answer  # as when the server has too many clients
        else:
            raise ProtocolError("the server sent a reply that nobody asked for")

    def _refusal(self, text: str) -> ServerRefusal:
        code = text.partition(" ")[0]
        self.draining = self.draining or code in TRANSIENT
        return ServerRefusal(
            f"{code}: the key is on another server" if code in REDIRECTIONS else text
        )


def _encode_command(command: list[bytes]) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))
