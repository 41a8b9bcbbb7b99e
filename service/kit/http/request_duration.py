"""How long requests take, by method, route and status: `http.server.request.duration` of
OpenTelemetry's conventions."""

from typing import Final

from service.kit.instruments import Distribution
from service.kit.metrics import HTTP_REQUEST_DURATION

ROUTE: Final = "callsheet.route"  # in the scope of a request: the path of its route
WAITED: Final = "callsheet.waited"  # there, if the response was held back until something happened
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})  # that some route takes
OTHER: Final = "_OTHER"  # stands for every other method, as the conventions have it

_durations: Final[dict[tuple[str, str, int], Distribution]] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered in so many seconds; `route` is the path of its route, with
    the names of its parameters, and empty if there is none."""
    key = (method if method in METHODS else OTHER, route, status)
    duration = _durations.get(key)
    if duration is None:
        duration = _durations[key] = HTTP_REQUEST_DURATION.labels(key[0], route, str(status))
    duration.observe(seconds)
