"""Our HTTP server: uvicorn, with the bounds of connection_limits.py."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from service.kit.http.connection_limits import BoundedHttpProtocol


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


def server_config(app: ASGIApp, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """The configuration of a Server of `app`, with further options of uvicorn's."""
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        proxy_headers=False,
        access_log=False,
        log_config=None,  # it logs through our own configuration, one JSON object a line
        server_header=False,
        **options,
    )
