"""An ASGI application behind a real HTTP server on a free port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@asynccontextmanager
async def http_server(
    app: ASGIApp, http: type[HttpToolsProtocol] = HttpToolsProtocol
) -> AsyncIterator[str]:
    """The application behind a real server on a free port; yields its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=http, log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()  # serve() would take the test's signals, and a tenth of a second to end
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    """Server.shutdown() without its wait of a tenth of a second; calls under way are cut off."""
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    for call in list(server.server_state.tasks):
        call.cancel()
    await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
    await server.lifespan.shutdown()
