"""uvicorn's HTTP/1.1 with a bound on how large a request's head may be, how long head and body may
take, and how long a client may leave unread what is sent to it; and with heads read by the book.

uvicorn has none of these: a head that never ends would be kept whole, and a slow request for ever.
"""

import asyncio
import socket
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.kit.http.headers import framing_error

MAX_HEAD = 65_536  # bytes of request line and headers, beside the piece that they begin in
HEAD_SECONDS = 15.0  # from the connection, or the head's first byte, to its end
BODY_SECONDS = 60.0  # from there to the end of the body
UNREAD_SECONDS = 20.0  # until a client that does not take what is sent to it is cut off
SMALL_SOCKET_BUFFER = (
    32_768  # bytes on their way to one that is sent events; the system takes them twice
)
SMALL_WRITE_BUFFER = 16_384  # bytes that wait in this process for the system to take them
CONNECTION_KEY = "connection"  # where a scope's state has it
BLANKS = b" \t"  # around a header's value, and no part of it: RFC 9112, section 5.1


class UpgradeIgnoringParser(HttpRequestParser):
    """Reads on as if an offer to upgrade had not been made (RFC 9110, section 7.8: it may be left
    unheeded; Java makes one by default). httptools takes it for accepted: it ends the request
    behind the head, and would read the body as another request."""

    def __init__(self, protocol: "BoundedHttpProtocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - as httptools has it: any bytes
        """Hand on what is in these bytes; HttpParserError if it is no HTTP."""
        while True:
            try:
                super().feed_data(data)
            except HttpParserUpgrade as upgrade:
                super().feed_data(self._protocol.take_head_without_offer())
                data = memoryview(data)[upgrade.args[0] :]
            else:
                return


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection; whoever does not come to the point is cut off.

    Most requests come whole in one piece, so a timer is set only when a piece leaves something to
    wait for.
    """

    _patience: float | None = HEAD_SECONDS  # seconds for what is awaited; None while nothing is
    _parts = 0  # heads and bodies begun and ended, to tell one from the next
    _in_head = True
    _head_bytes = 0
    _flaw: str | None = None  # why the request that is being read is refused
    _without_offer: bytes | None = None  # the head that was read, but for its offer to upgrade
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self.parser = UpgradeIgnoringParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await(HEAD_SECONDS, head=True)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        self._taken()
        super().connection_lost(exc)
        if self.scope is not None:
            self.scope["state"].pop(
                CONNECTION_KEY, None
            )  # it leads back here: the collector runs seldom

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def stalled(self) -> bool:
        """Whether the client does not take what is sent to it."""
        return self.flow.write_paused

    def abort(self) -> None:
        """Close it, and drop what was not taken."""
        self.transport.abort()

    def shrink_buffers(self) -> None:
        """Let little be on its way: else the system keeps megabytes for each client that stalls."""
        self.transport.set_write_buffer_limits(SMALL_WRITE_BUFFER)
        wire = self.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_SOCKET_BUFFER)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await(HEAD_SECONDS, head=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes behind a body is merged with nothing: RFC 9110, section 6.5.1.
        if self._in_head:
            super().on_header(name, value.strip(BLANKS))

    def on_headers_complete(self) -> None:
        self._flaw = framing_error(self.parser.get_http_version(), self.headers)
        if self._flaw is not None:
            raise HttpParserError(self._flaw)  # the parser stops, and what is wrong is answered
        if self.parser.should_upgrade():
            self._without_offer = self._head_without_offer()
            return
        self._await(BODY_SECONDS)
        self.scope["state"][CONNECTION_KEY] = self
        super().on_headers_complete()

    def _head_without_offer(self) -> bytes:
        """The head that was just read, with Upgrade under another name."""
        method = self.parser.get_method()
        if method == b"CONNECT":  # it is an upgrade by itself
            raise HttpParserError("This server is no proxy.")
        version = self.parser.get_http_version().encode()
        lines = [method + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            shown = b"x-upgrade" if name == b"upgrade" else name
            lines.append(shown + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def take_head_without_offer(self) -> bytes:
        """What is to be read in the place of a head that offered to upgrade."""
        head, self._without_offer = self._without_offer, None
        assert head is not None  # noqa: S101 - the parser stops behind such a head alone
        return head

    def on_message_complete(self) -> None:
        if self._without_offer is not None:
            return
        self._await(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._flaw or msg)

    def data_received(self, data: bytes) -> None:
        parts = self._parts
        super().data_received(data)
        if self._in_head and parts == self._parts:  # all of it is of one head
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The head of this request is too large.")
        if self._patience is not None and self._late is None:
            self._watch()

    def _await(self, patience: float | None, *, head: bool = False) -> None:
        """Another part of a request begins, or none."""
        self._patience, self._in_head, self._head_bytes = patience, head, 0
        self._parts += 1
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _watch(self) -> None:
        if self._patience is not None and not self.transport.is_closing():
            self._late = self.loop.call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        answering = not getattr(self.cycle, "response_complete", True)
        if self.pipeline or (self._in_head and answering):
            self._watch()  # sent ahead, and not read on while an earlier answer is awaited
        elif answering and not self.cycle.response_started:
            self.send_400_response("The body of this request did not come in time.")
        else:
            self.transport.close()
