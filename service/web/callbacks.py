"""/callbacks: where the provider posts. Answered 200 only once it is durable."""

from starlette.requests import Request
from starlette.responses import Response

from service.core.errors import Malformed, UnsupportedMedia
from service.steps import callback
from service.web.requests import read_body, resources
from service.web.responses import rendered

MAX_CALLBACK = 1_000_000  # bytes; design, section 5, "Callbacks"


async def take(request: Request) -> Response:
    """One callback; the token in the path, if there is one, names the subject."""
    try:
        body = await read_body(request, MAX_CALLBACK)
    except UnsupportedMedia as error:  # the provider is told nothing but the contract's statuses
        raise Malformed(str(error)) from None
    headers = {name.lower(): value for name, value in request.headers.items()}
    incoming = callback.receive(resources(request), request.path_params.get("token"), headers, body)
    taken = await request.app.state.callbacks.put(incoming)
    return rendered({"verdict": taken.verdict})
