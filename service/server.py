"""The web process: uvicorn over the application, until it is told to stop."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from service.app import build
from service.kit.http.connection_limits import BoundedHttpProtocol
from service.settings import Settings
from service.wiring import open_resources, tune_garbage_collector

log = structlog.get_logger()

GRACE = 15  # seconds that requests under way get at shutdown
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
    tune_garbage_collector()
    open_files()
    async with open_resources(settings) as resources:
        app = build(resources)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=BoundedHttpProtocol,
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
        app.state.hub.close()  # uvicorn would wait for the streams
        server.should_exit = True
        stopped.cancel()
        await serving
        log.info("web", action="stopped")
        return server.started


def open_files() -> None:
    """As many as we may: each stream is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has no end here, and means 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
