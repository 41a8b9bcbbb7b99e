"""The application: its routes, and what answers where none of them does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from service.core.errors import CallsheetError
from service.steps.feed import Hub
from service.steps.resources import Resources
from service.web import (
    callback_admin,
    compat,
    deliveries,
    events,
    intake,
    ops,
    signing,
    subjects,
    subscribers,
)
from service.web.batchers import make_batchers
from service.web.bodies import Bodies
from service.web.openapi import routes as openapi
from service.web.receive import CallbackEndpoint
from service.web.responses import problem, problem_of
from service.web.streams import Streams

log = structlog.get_logger()


class Alone(Route):
    """A path that another route's would match as well: it takes no methods but these."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return Match.FULL if match is Match.PARTIAL else match, child


ROUTES = [
    Route("/v1/subjects", intake.create, methods=["POST"]),
    Alone("/v1/subjects/batch", intake.create_many, methods=["POST"]),
    Route("/v1/subjects", subjects.page_of, methods=["GET"]),
    Route("/v1/subjects/{subject_id}", subjects.read, methods=["GET"]),
    Route("/v1/subjects/{subject_id}/cancel", subjects.cancel_one, methods=["POST"]),
    Route("/v1/subjects/{subject_id}/events", events.of_subject, methods=["GET"]),
    Route("/v1/subjects/{subject_id}/deliveries", deliveries.of_subject, methods=["GET"]),
    Route("/v1/events", events.feed, methods=["GET"]),
    Route("/v1/subscribers", subscribers.create, methods=["POST"]),
    Route("/v1/subscribers", subscribers.page_of, methods=["GET"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers.read, methods=["GET"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers.change, methods=["PATCH"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers.delete, methods=["DELETE"]),
    Route("/v1/subscribers/{subscriber_id}/test", subscribers.try_out, methods=["POST"]),
    Route("/v1/subscribers/{subscriber_id}/deliveries", deliveries.of_subscriber, methods=["GET"]),
    Route("/v1/subscribers/{subscriber_id}/replay", deliveries.replay_all, methods=["POST"]),
    Route("/v1/deliveries/{delivery_id}", deliveries.read, methods=["GET"]),
    Route("/v1/deliveries/{delivery_id}/resend", deliveries.resend, methods=["POST"]),
    Route("/v1/subscribers/{subscriber_id}/rotate-secret", signing.rotate, methods=["POST"]),
    Route("/v1/account/callback-secret", signing.callback_secret, methods=["GET"]),
    Route("/v1/account/callback-secret/rotate", signing.rotate_callback_secret, methods=["POST"]),
    Route("/.well-known/jwks.json", signing.jwks, methods=["GET"]),
    Route("/v1/callbacks", callback_admin.page_of, methods=["GET"]),
    Route("/v1/callbacks/{callback_id}", callback_admin.read, methods=["GET"]),
    Route("/v1/callbacks/{callback_id}/reverify", callback_admin.verify_again, methods=["POST"]),
    Route("/v1/capabilities", intake.capabilities, methods=["GET"]),
    *compat.ROUTES,
    Route("/healthz", ops.healthz, methods=["GET"]),
    Route("/readyz", ops.readyz, methods=["GET"]),
    Route("/openapi.json", openapi.openapi, methods=["GET"]),
    Route("/docs", openapi.docs, methods=["GET"]),
]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """What follows feeds, and what gathers, is at work as long as the application is up."""
    async with app.state.hub, app.state.batchers.open():
        yield


def build(resources: Resources) -> Starlette:
    """The ASGI application over open resources."""
    app = Starlette(
        routes=ROUTES,
        lifespan=_lifespan,
        middleware=[Middleware(CallbackEndpoint), Middleware(Streams)],
        exception_handlers={
            CallsheetError: _refused,
            HTTPException: _not_routed,
            Exception: _fault,
        },
    )
    app.router.redirect_slashes = False
    app.state.resources = resources
    app.state.hub = Hub(resources)
    app.state.bodies = Bodies()
    app.state.batchers = make_batchers(lambda: app.state.resources)
    return app


async def _refused(_request: Request, error: Exception) -> Response:
    refused = cast("CallsheetError", error)  # it is registered for these
    return problem_of(refused)


async def _not_routed(request: Request, error: Exception) -> Response:
    lost = cast("HTTPException", error)  # likewise
    code = {404: "not_found", 405: "method_not_allowed"}.get(lost.status_code, "http_error")
    response = problem(lost.status_code, code, lost.detail)
    response.headers.update(lost.headers or {})
    if lost.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """All that its path takes; a route knows of its own alone."""
    paths = (one.path for one in ROUTES if one.matches(request.scope)[0] is not Match.NONE)
    path = next(paths)
    return {method for one in ROUTES if one.path == path for method in one.methods or ()}


async def _fault(request: Request, error: Exception) -> Response:
    log.error("web", action="fault", path=request.url.path, exc_info=error)
    return problem(500, "internal", "This is a fault of ours; it has been logged.")
