"""The inner port of a process: /metrics, /healthz and /readyz on loopback, without a key.

It has a server of its own in the process' event loop, so that no ingress ever carries it, and
answers within a second although Postgres is away.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.kit.http.dispatch import respond
from service.kit.http.request import Request
from service.kit.http.routing import RouteTable, route
from service.kit.http.server import Server, server_config
from service.operations.steps.readiness import BoundedReadiness
from service.operations.web import health, metrics
from service.resources import Resources

log = structlog.get_logger()

HOST: Final = "127.0.0.1"
READY_TIMEOUT: Final = 0.8  # seconds for the checks of /readyz
SHUTDOWN_TIMEOUT: Final = 1  # seconds that requests in progress get at the end


async def _readyz(request: Request) -> Response:
    return health.readiness_response(await request.app.state.readiness.check(READY_TIMEOUT))


TABLE = RouteTable(
    [
        route("/metrics", metrics.exposition, "GET"),
        route("/healthz", health.healthz, "GET"),
        route("/readyz", _readyz, "GET"),
    ]
)


@dataclass(frozen=True, slots=True)
class InnerState:
    """What the handlers of the inner port share."""

    resources: Resources
    readiness: BoundedReadiness


class InnerApplication:
    """The ASGI application of the inner port."""

    def __init__(self, resources: Resources) -> None:
        self.state = InnerState(resources, BoundedReadiness(resources))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        response = await respond(TABLE, scope, receive)
        await response(scope, receive, send)


@asynccontextmanager
async def inner_port(resources: Resources, port: int | None) -> AsyncIterator[None]:
    """Serve the inner port meanwhile; None: there is none. If the port cannot be had, that is one
    line in the log, and the process runs on."""
    listener = None if port is None else _listen(port)
    if listener is None:
        yield
        return
    app = InnerApplication(resources)
    config = server_config(app, lifespan="off", timeout_graceful_shutdown=SHUTDOWN_TIMEOUT)
    server = Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        await app.state.readiness.close()


def _listen(port: int) -> socket.socket | None:
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        log.warning("inner_port", action="inner_port_unavailable", port=port, error=reason)
        return None
    log.info("inner_port", action="inner_port_opened", port=listener.getsockname()[1])
    return listener
