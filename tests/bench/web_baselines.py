"""What `web` is compared with, as processes: `python -m tests.bench.web_baselines NAME PORT`.

Of callbacks, `floor` verifies the signature and answers 200; `plain` does all of the work, the
plain way. Both run under uvicorn as `web` does (service/server.py). `bare` reads the body of
any request, and answers: a function under uvicorn as it comes.
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
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.callbacks.domain.verification import verify_v1
from service.kit.crypto.key_formats import parse_whsec
from service.kit.http.connection_limits import BoundedHttpProtocol
from service.server import KEEP_ALIVE
from service.wiring import tune_garbage_collector, utc_now
from tests.bench.plain_service import PlainService

KEYS = [parse_whsec(secret) for secret in os.environ["CALLSHEET_WEBHOOK_SECRETS"].split()]

ANSWER = b'{"an": "%b"}' % (b"x" * 588)  # as long as a subject is


async def floor(request: Request) -> Response:
    verify_v1(KEYS, request.headers, await request.body(), utc_now())
    return Response()


async def bare(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def application(name: str) -> ASGIApp:
    if name == "bare":
        return bare
    handlers = {
        "floor": floor,
        "plain": PlainService(os.environ["CALLSHEET_DATABASE_URL"], KEYS).receive,
    }
    return Starlette(routes=[Route("/callbacks", handlers[name], methods=["POST"])])


async def main(name: str, port: int) -> None:
    tune_garbage_collector()
    config = uvicorn.Config(
        application(name),
        port=port,
        http=HttpToolsProtocol if name == "bare" else BoundedHttpProtocol,
        ws="none",
        lifespan="off" if name == "bare" else "on",
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
