"""What callback ingest is held against, as processes: `python -m tests.bench.rivals NAME PORT`.

`floor` verifies the signature and answers 200; `plain` does all of the work, the plain way. Both
run under uvicorn as `web` does (service/web/server.py).
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

from service.core.signatures import key_of, verify
from service.web.protocol import Bounded
from service.web.server import KEEP_ALIVE
from service.wiring import collect_seldom, utc_now
from tests.bench.plain import Plain

KEYS = [key_of(secret) for secret in os.environ["CALLSHEET_WEBHOOK_SECRETS"].split()]


async def floor(request: Request) -> Response:
    verify(KEYS, request.headers, await request.body(), utc_now())
    return Response()


async def main(name: str, port: int) -> None:
    collect_seldom()
    handlers = {"floor": floor, "plain": Plain(os.environ["CALLSHEET_DATABASE_URL"], KEYS).take}
    config = uvicorn.Config(
        Starlette(routes=[Route("/callbacks", handlers[name], methods=["POST"])]),
        port=port,
        http=Bounded,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
