"""GET /v1/capabilities: which subject kind which model takes."""

from starlette.requests import Request
from starlette.responses import Response

from service.core.capabilities import MODELS
from service.web.requests import Query, authorize
from service.web.responses import rendered


async def read(request: Request) -> Response:
    await authorize(request, "subjects:read")
    Query(request).done()
    return rendered({"data": MODELS})
