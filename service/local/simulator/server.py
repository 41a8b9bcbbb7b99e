"""`callsheet simulator`: the simulator as a process."""

import signal
import socket
import sys
from pathlib import Path

import uvicorn

from service.local.simulator.app import build
from service.local.simulator.options import Options, Settings

SHUTDOWN_TIMEOUT = 1  # seconds for requests in progress: faults hold some back for ever


class _Server(uvicorn.Server):
    """A server that prints its URL once it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        sys.stdout.write(f"simulator ready on http://{host}:{port}\n")
        sys.stdout.flush()


def run(  # noqa: PLR0913 — one parameter for each option of the command
    host: str,
    port: int,
    api_key: str,
    webhook_secret: str | None,
    data: Path | None,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    processing_after: float = 1.0,
    finished_after: float = 2.0,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 0. Port 0 is a free port; times are
    seconds."""
    options = Options(
        api_key=api_key,
        webhook_secret=webhook_secret,
        access_key=access_key,
        secret_key=secret_key,
        data=data,
        settings=Settings(processing_after=processing_after, finished_after=finished_after),
    )
    config = uvicorn.Config(
        build(options),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    # uvicorn raises the signal that ended it once more, after its own handlers are gone
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _Server(config).run()
    return 0
