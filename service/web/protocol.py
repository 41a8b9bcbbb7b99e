"""uvicorn's HTTP/1.1 with a bound on how large a request's head may be, and how long it may take.

uvicorn has neither: a head that never ends would be kept whole, and a slow one for ever.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 65_536  # bytes of request line and headers, beside the piece that they begin in
HEAD_SECONDS = 15.0  # from the connection, or the head's first byte, to its end


class Bounded(HttpToolsProtocol):
    """One connection; whoever does not come to the point is cut off."""

    _head_bytes = 0
    _late: asyncio.TimerHandle | None = None  # set while a head is awaited

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        awaited = self._late
        super().data_received(data)
        if awaited is not None and awaited is self._late:  # all of it is of one head
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The head of this request is too large.")

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        if getattr(self.cycle, "response_complete", True):
            self.transport.close()
        else:  # sent ahead, and not read on while an earlier answer is awaited
            self._await_head()
