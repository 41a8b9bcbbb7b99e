"""What callback ingest is held against, as processes: `python -m tests.bench.rivals NAME PORT`.

`floor` verifies the signature and answers 200; `plain` does all of the work, in a transaction of
its own for each request.
"""

import asyncio
import os
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.core.signatures import verify
from service.settings import read_settings
from service.steps import callback
from service.wiring import open_resources, start_logging, utc_now

SETTINGS = read_settings(os.environ)


async def floor(request: Request) -> Response:
    verify(SETTINGS.webhook_secrets, request.headers, await request.body(), utc_now())
    return Response()


async def plain(request: Request) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    await callback.take(request.app.state.resources, None, headers, await request.body())
    return Response()


async def main(name: str, port: int) -> None:
    async with open_resources(SETTINGS) as resources:
        handler = {"floor": floor, "plain": plain}[name]
        app = Starlette(routes=[Route("/callbacks", handler, methods=["POST"])])
        app.state.resources = resources
        config = uvicorn.Config(
            app,
            port=port,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    start_logging(SETTINGS.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
