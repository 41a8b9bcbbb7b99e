"""Health checks, open to all: /healthz (liveness) and /readyz (readiness)."""

from starlette.responses import Response

from service.kit.http.request import Request
from service.kit.http.responses import json_response
from service.operations.steps import readiness
from service.request_context import resources


async def healthz(_request: Request) -> Response:
    """200 as long as the process answers."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """503 if Postgres cannot be used; 200 otherwise, also if the process is degraded."""
    return readiness_response(await readiness.check_readiness(resources(request)))


def readiness_response(found: readiness.Health) -> Response:
    """The response that tells of what the checks found."""
    return json_response(
        {"status": found.status, "checks": found.checks}, 200 if found.usable else 503
    )
