"""The web process: uvicorn serves the application until it is told to stop."""

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

SHUTDOWN_TIMEOUT = 15  # seconds that requests in progress get at shutdown
KEEP_ALIVE = 75  # seconds; more than proxies commonly keep theirs, so that they close first


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process before we can close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn could not bind; this would end the event loop
            self.should_exit = True


async def run(settings: Settings, stop: asyncio.Event) -> bool:
    """Serve until `stop` is set; False if it could not start."""
    tune_garbage_collector()
    raise_open_files_limit()
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
            log_config=None,  # it logs through our own configuration, one JSON object a line
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
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


def raise_open_files_limit() -> None:
    """Let the process open as many files as it may: each stream is one."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says infinity, and allows 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
