"""Liveness and readiness, open to all."""

from starlette.requests import Request
from starlette.responses import Response

from service.steps import health
from service.web.requests import resources
from service.web.responses import rendered


async def healthz(_request: Request) -> Response:
    """The process answers."""
    return rendered({"status": "ok"})


async def readyz(request: Request) -> Response:
    """503 without a usable Postgres; degraded, yet 200, where work only waits."""
    found = await health.look(resources(request))
    return rendered({"status": found.status, "checks": found.checks}, 200 if found.usable else 503)
