"""A TCP proxy that can go silent, as a firewall does that forgot the connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"


@dataclass
class TcpProxy:
    """Bytes go both ways. After `forget` those of the connections that are there go nowhere, nor
    does either side learn of the other's end; with `dead` this happens to all that come."""

    port: int = 0
    blackhole_all: bool = False
    connections: int = 0
    blackholed: set[asyncio.StreamWriter] = field(default_factory=set)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def blackhole(self) -> None:
        self.blackholed |= self.writers

    def reset(self) -> None:
        """The connections that are there end at once."""
        for writer in self.writers:
            writer.transport.abort()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From one side to the other, until the first one ends."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if writer not in self.blackholed and not self.blackhole_all:
                    writer.write(data)
                    await writer.drain()
        if writer not in self.blackholed:
            writer.close()


@asynccontextmanager
async def tcp_proxy(to: int, path: Path | None = None) -> AsyncIterator[TcpProxy]:
    """To a port of this machine: from a free one, or from the socket at `path`."""
    made = TcpProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        there, back = await asyncio.open_connection(HOST, to)
        made.writers |= {writer, back}
        for one in (made.forward(reader, back), made.forward(there, writer)):
            tasks.add(asyncio.ensure_future(one))

    if path is None:
        server = await asyncio.start_server(join, HOST, 0)
        made.port = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(join, path)
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        made.reset()
