"""Liveness and readiness, open to all."""

from starlette.requests import Request
from starlette.responses import Response

from service.kit.http.responses import json_response
from service.operations.steps import readiness
from service.request_context import resources


async def healthz(_request: Request) -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """503 without a usable Postgres; degraded, yet 200, where work only waits."""
    found = await readiness.check_readiness(resources(request))
    return json_response(
        {"status": found.status, "checks": found.checks}, 200 if found.usable else 503
    )
