"""A TCP proxy that can go silent, as a firewall does that forgot the connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"


@dataclass
class TcpProxy:
    """Forwards bytes both ways, until a test stops it."""

    port: int = 0
    blackhole_all: bool = False  # whether the bytes of all connections are dropped
    connections: int = 0  # accepted so far
    blackholed: set[asyncio.StreamWriter] = field(default_factory=set)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def blackhole(self) -> None:
        """Drop the bytes and the ends of the open connections from now on."""
        self.blackholed |= self.writers

    def reset(self) -> None:
        """Reset the open connections."""
        for writer in self.writers:
            writer.transport.abort()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward from one side to the other until the reader's side ends."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if writer not in self.blackholed and not self.blackhole_all:
                    writer.write(data)
                    await writer.drain()
        if writer not in self.blackholed:
            writer.close()


@asynccontextmanager
async def tcp_proxy(to: int, path: Path | None = None) -> AsyncIterator[TcpProxy]:
    """A proxy to a port of this machine: on a free port, or on the Unix socket `path`."""
    proxy = TcpProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        there, back = await asyncio.open_connection(HOST, to)
        proxy.writers |= {writer, back}
        for forwarding in (proxy.forward(reader, back), proxy.forward(there, writer)):
            tasks.add(asyncio.ensure_future(forwarding))

    if path is None:
        server = await asyncio.start_server(join, HOST, 0)
        proxy.port = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(join, path)
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        proxy.reset()
