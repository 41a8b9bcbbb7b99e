"""GET /metrics: what this process counts, and what the snapshot has of the whole service."""

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import authorize
from service.kit.http.request import Request
from service.kit.http.requests import refuse_query
from service.kit.http.responses import BytesResponse
from service.operations.steps import metrics as metrics_steps
from service.request_context import resources

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def metrics(request: Request) -> Response:
    """The metrics, for a key with the scope `metrics` or `operator`."""
    await authorize(request, KeyScope.METRICS)
    return await exposition(request)


async def exposition(request: Request) -> Response:
    """The metrics, for whoever asks: as OpenMetrics where that is accepted, else as text."""
    refuse_query(request)
    openmetrics = wants_openmetrics(",".join(request.headers.getlist("accept")))
    body = await metrics_steps.exposition(resources(request), openmetrics=openmetrics)
    return BytesResponse(body, 200, OPENMETRICS if openmetrics else TEXT)


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics in the version that is made here, or in any.
    Weights do not count: whoever names it prefers it, and text is what all others get."""
    for part in accept.lower().split(","):
        name, *parameters = ("".join(text.split()) for text in part.split(";"))
        versions = [text for text in parameters if text.startswith("version=")]
        if name == "application/openmetrics-text" and versions in ([], ["version=1.0.0"]):
            return True
    return False
