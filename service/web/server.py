"""The web process: uvicorn over the application, until it is told to stop."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from service.settings import Settings
from service.web.app import build
from service.web.protocol import Bounded
from service.wiring import open_resources

log = structlog.get_logger()

GRACE = 15  # seconds that requests under way get at shutdown
COLLECT_AFTER = (10_000, 50, 100)  # objects; collections of the young; of the middle-aged
KEEP_ALIVE = 75  # seconds; more than proxies commonly keep theirs, so that they close first


class Server(uvicorn.Server):
    """uvicorn, with the signals left to us: its own way kills the process before we can close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # its way to say that it could not bind: it would end the event loop
            self.should_exit = True


async def run(settings: Settings, stop: asyncio.Event) -> bool:
    """Serve until `stop` is set; False if it could not start."""
    collect_seldom()
    async with open_resources(settings) as resources:
        config = uvicorn.Config(
            build(resources),
            host=settings.host,
            port=settings.port,
            http=Bounded,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            access_log=False,
            log_config=None,  # its words go out as ours do, one JSON object a line
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve())
        stopped = asyncio.create_task(stop.wait())
        log.info("web", action="starting", host=settings.host, port=settings.port)
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stopped.cancel()
        await serving
        log.info("web", action="stopped")
        return server.started


def collect_seldom() -> None:
    """What was imported stays, so the collector need not go through it; and what a request makes
    is gone by itself. By default the collector takes a tenth of the time of callback ingest, and
    most of what its slowest answers wait for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
