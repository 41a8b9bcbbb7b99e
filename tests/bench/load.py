"""A load of prepared requests over kept-alive connections: as little work per request as can be."""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import cast

OK = b"HTTP/1.1 200"
PATIENCE = 120.0  # seconds until the load must be through


class _Connection(asyncio.Protocol):
    """Sends one request after the other; each answer must be a 200 with a content-length."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._buffer = b""
        self._sent = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        if not head.startswith(OK):
            self._finish(RuntimeError((head + rest)[:300].decode("latin-1")))
            return
        self.latencies.append((perf_counter() - self._sent) * 1000)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionError("closed by the server"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._finish(None)
            self._transport.close()
            return
        self._sent = perf_counter()
        self._transport.write(request)

    def _finish(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("an answer without a length")


async def drive(
    host: str, port: int, requests: list[bytes], connections: int
) -> tuple[float, list[float]]:
    """Requests per second, and the latency of each in milliseconds."""
    loop = asyncio.get_running_loop()
    source = iter(requests)
    made: list[_Connection] = []
    done: list[asyncio.Future[None]] = []
    began = perf_counter()
    for _ in range(connections):
        future: asyncio.Future[None] = loop.create_future()
        _, protocol = await loop.create_connection(
            lambda future=future: _Connection(source, future),  # type: ignore[misc]
            host,
            port,
        )
        made.append(protocol)
        done.append(future)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*done)
    elapsed = perf_counter() - began
    return len(requests) / elapsed, [one for each in made for one in each.latencies]
