"""Requests that were answered: how long each took, by method, route and status, and a log line of
each that failed. The metric is `http.server.request.duration` of OpenTelemetry's conventions."""

from time import perf_counter
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Scope

from service.kit.http.responses import ProblemResponse
from service.kit.instruments import Distribution
from service.kit.metrics import HTTP_REQUEST_DURATION

log = structlog.get_logger()

ROUTE: Final = "callsheet.route"  # in the scope of a request: the path of its route
ACCOUNT: Final = "callsheet.account"  # likewise: the account whose key it came with
WAITED: Final = "callsheet.waited"  # there, if the response was held back until something happened
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})  # that some route takes
FAILED: Final = 400  # and above: an error
OTHER: Final = "_OTHER"  # stands for every other method, as the conventions have it

_durations: Final[dict[tuple[str, str, int], Distribution]] = {}


def finish_request(scope: Scope, route: str, response: Response, began: float) -> None:
    """Count a request that was answered, and log it if it failed. `route` is the path of its route,
    with the names of its parameters, and empty if there is none: a path itself may be a secret.
    `began` is a reading of perf_counter()."""
    seconds = perf_counter() - began
    observe_request(scope["method"], route, response.status_code, seconds)
    if response.status_code >= FAILED:
        problem = response if isinstance(response, ProblemResponse) else None
        log.info(
            "web",
            action="request_failed",
            method=scope["method"],
            route=route,
            status=response.status_code,
            code=problem and problem.code,
            reason=problem and problem.title,
            account=scope.get(ACCOUNT),
            seconds=round(seconds, 4),
        )


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered in so many seconds; `route` as in finish_request()."""
    key = (method if method in METHODS else OTHER, route, status)
    duration = _durations.get(key)
    if duration is None:
        duration = _durations[key] = HTTP_REQUEST_DURATION.labels(key[0], route, str(status))
    duration.observe(seconds)
