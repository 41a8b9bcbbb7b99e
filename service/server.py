"""The web process: uvicorn serves the application until it is told to stop."""

import asyncio
import contextlib
import resource

import structlog

from service.app import build
from service.inner_port import inner_port
from service.installation.steps import note_moment
from service.kit.concurrency.event_loop_lag import measured_event_loop
from service.kit.http.server import Server, server_config
from service.settings import Settings
from service.wiring import open_resources, tune_garbage_collector

log = structlog.get_logger()

SHUTDOWN_TIMEOUT = 15  # seconds that requests in progress get at shutdown
KEEP_ALIVE = 75  # seconds; more than proxies commonly keep theirs, so that they close first


async def run(settings: Settings, stop: asyncio.Event) -> bool:
    """Serve until `stop` is set; False if it could not start."""
    tune_garbage_collector()
    raise_open_files_limit()
    port, _ = settings.inner_port
    async with (
        open_resources(settings) as resources,
        inner_port(resources, port),
        measured_event_loop(),
    ):
        app = build(resources)
        config = server_config(
            app,
            host=settings.host,
            port=settings.port,
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve())
        stopped = asyncio.create_task(stop.wait())
        noting = asyncio.create_task(note_moment.keep_noting(resources))
        log.info("web", action="starting", host=settings.host, port=settings.port)
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        app.state.hub.close()  # uvicorn would wait for the streams
        server.should_exit = True
        stopped.cancel()
        await serving
        noting.cancel()
        await asyncio.gather(noting, return_exceptions=True)
        log.info("web", action="stopped")
        return server.started


def raise_open_files_limit() -> None:
    """Let the process open as many files as it may: each stream is one."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says infinity, and allows 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
