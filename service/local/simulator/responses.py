"""The simulator's responses, as they should be or spoilt by a fault."""

import asyncio
from collections.abc import Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.local.simulator.faults import NO_FAULT, Fault

TRANSPORT = "simulator.transport"  # key of the transport in the ASGI scope, set in app.py
GARBAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n"
OVERSIZED_BYTES = 64 << 20  # bytes of white space before the answer
CHUNK_BYTES = 1 << 16  # bytes
TRICKLE_SECONDS = 60.0  # seconds from the first byte to the last, unless `delay` says otherwise


def json_response(status: int, content: bytes) -> Response:
    """A JSON response with this body."""
    return Response(content, status, media_type="application/json")


async def with_fault(fault: Fault, status: int, content: bytes) -> Response:
    """The JSON response, spoilt as the fault says; sleeps for the fault's `delay`."""
    if fault is NO_FAULT:
        return json_response(status, content)
    if fault.answer != "trickle":
        await asyncio.sleep(fault.delay)
    status = fault.http_status or status
    if fault.answer == "normal":
        return json_response(status, content)
    if fault.answer == "garbage":
        return Response(GARBAGE, status, media_type="text/html")
    return FaultyResponse(content, status, fault)


class FaultyResponse(Response):
    """A valid response that never comes, comes in part, too slowly, or after too much else."""

    def __init__(self, content: bytes, status: int, fault: Fault) -> None:
        super().__init__(content, status, media_type="application/json")
        self._kind = fault.answer
        seconds = fault.delay or TRICKLE_SECONDS
        self._pause = seconds / len(content) if self._kind == "trickle" else 0.0
        if self._kind == "oversized":
            self.headers["content-length"] = str(OVERSIZED_BYTES + len(content))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope[TRANSPORT]
        if self._kind == "drop":
            transport.abort()
            await _wait_until_closed(receive)
            return
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        for piece in self._pieces():
            await asyncio.sleep(self._pause)
            if transport.is_closing():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._kind == "truncated":
            transport.close()
            await _wait_until_closed(receive)
        else:
            await send({"type": "http.response.body"})

    def _pieces(self) -> Iterator[bytes]:
        content = bytes(self.body)
        if self._kind == "truncated":
            yield content[: len(content) // 2]
        elif self._kind == "trickle":
            yield from (content[at : at + 1] for at in range(len(content)))
        else:
            for _ in range(OVERSIZED_BYTES // CHUNK_BYTES):
                yield b" " * CHUNK_BYTES
            yield content


async def _wait_until_closed(receive: Receive) -> None:
    """Wait until the server knows that the connection is closed: then it misses no response."""
    while (await receive())["type"] != "http.disconnect":
        pass


def transport_of(send: Send) -> asyncio.Transport | None:
    """The transport behind uvicorn's `send`, to close it: ASGI itself has no way to hang up."""
    cycle = getattr(send, "__self__", None)
    transport: asyncio.Transport | None = getattr(cycle, "transport", None)
    return transport
