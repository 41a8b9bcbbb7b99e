"""The ASGI application: its list of routes, and the responses to errors."""

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

from service.callbacks.web import admin
from service.callbacks.web.receive import CallbackEndpoint
from service.compat_api.web import routes as compat_api_routes
from service.delivery.web import routes as delivery_routes
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.web import routes as event_feed_routes
from service.event_feed.web.sse import SSEMiddleware
from service.intake.web import routes as intake_routes
from service.kit.errors import CallsheetError
from service.kit.http.large_bodies import LargeBodyReader
from service.kit.http.responses import error_response, problem_response
from service.openapi import routes as openapi
from service.operations.web import health
from service.request_batchers import make_batchers
from service.resources import Resources
from service.status.web import routes as status_routes
from service.subscribers.web import routes as subscribers_routes
from service.subscribers.web import signing_secrets

log = structlog.get_logger()


class ExactRoute(Route):
    """A route whose path matches another route's pattern too: it answers all methods of that path,
    so that the other never does."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return Match.FULL if match is Match.PARTIAL else match, child


ROUTES = [
    Route("/v1/subjects", intake_routes.create, methods=["POST"]),
    ExactRoute("/v1/subjects/batch", intake_routes.create_batch, methods=["POST"]),
    Route("/v1/subjects", status_routes.list_subjects, methods=["GET"]),
    Route("/v1/subjects/{subject_id}", status_routes.read, methods=["GET"]),
    Route("/v1/subjects/{subject_id}/cancel", status_routes.cancel, methods=["POST"]),
    Route("/v1/subjects/{subject_id}/events", event_feed_routes.subject_events, methods=["GET"]),
    Route("/v1/subjects/{subject_id}/deliveries", delivery_routes.list_of_subject, methods=["GET"]),
    Route("/v1/events", event_feed_routes.account_events, methods=["GET"]),
    Route("/v1/subscribers", subscribers_routes.create, methods=["POST"]),
    Route("/v1/subscribers", subscribers_routes.list_subscribers, methods=["GET"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers_routes.read, methods=["GET"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers_routes.update, methods=["PATCH"]),
    Route("/v1/subscribers/{subscriber_id}", subscribers_routes.delete, methods=["DELETE"]),
    Route(
        "/v1/subscribers/{subscriber_id}/test", subscribers_routes.send_test_event, methods=["POST"]
    ),
    Route(
        "/v1/subscribers/{subscriber_id}/deliveries",
        delivery_routes.list_of_subscriber,
        methods=["GET"],
    ),
    Route("/v1/subscribers/{subscriber_id}/replay", delivery_routes.replay, methods=["POST"]),
    Route("/v1/deliveries/{delivery_id}", delivery_routes.get, methods=["GET"]),
    Route("/v1/deliveries/{delivery_id}/resend", delivery_routes.resend, methods=["POST"]),
    Route(
        "/v1/subscribers/{subscriber_id}/rotate-secret",
        signing_secrets.rotate_secret,
        methods=["POST"],
    ),
    Route("/v1/account/callback-secret", signing_secrets.read_callback_secret, methods=["GET"]),
    Route(
        "/v1/account/callback-secret/rotate",
        signing_secrets.rotate_callback_secret,
        methods=["POST"],
    ),
    Route("/.well-known/jwks.json", signing_secrets.jwks, methods=["GET"]),
    Route("/v1/callbacks", admin.list_callbacks, methods=["GET"]),
    Route("/v1/callbacks/{callback_id}", admin.get_callback, methods=["GET"]),
    Route("/v1/callbacks/{callback_id}/reverify", admin.reverify_callback, methods=["POST"]),
    Route("/v1/capabilities", intake_routes.capabilities, methods=["GET"]),
    *compat_api_routes.ROUTES,
    Route("/healthz", health.healthz, methods=["GET"]),
    Route("/readyz", health.readyz, methods=["GET"]),
    Route("/openapi.json", openapi.openapi, methods=["GET"]),
    Route("/docs", openapi.docs, methods=["GET"]),
]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """The event hub and the batchers run as long as the application does."""
    async with app.state.hub, app.state.batchers.open():
        yield


def build(resources: Resources) -> Starlette:
    """The ASGI application over open resources."""
    app = Starlette(
        routes=ROUTES,
        lifespan=_lifespan,
        middleware=[Middleware(CallbackEndpoint), Middleware(SSEMiddleware)],
        exception_handlers={
            CallsheetError: _refused,
            HTTPException: _not_routed,
            Exception: _fault,
        },
    )
    app.router.redirect_slashes = False
    app.state.resources = resources
    app.state.hub = EventHub(resources)
    app.state.bodies = LargeBodyReader()
    app.state.batchers = make_batchers(lambda: app.state.resources)
    return app


async def _refused(_request: Request, error: Exception) -> Response:
    return error_response(cast("CallsheetError", error))  # it is registered for these


async def _not_routed(request: Request, error: Exception) -> Response:
    not_routed = cast("HTTPException", error)  # it is registered for these
    code = {404: "not_found", 405: "method_not_allowed"}.get(not_routed.status_code, "http_error")
    response = problem_response(not_routed.status_code, code, not_routed.detail)
    response.headers.update(not_routed.headers or {})
    if not_routed.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """All methods of the request's path, which may have several routes."""
    matching = (route for route in ROUTES if route.matches(request.scope)[0] is not Match.NONE)
    path = next(matching).path
    return {method for route in ROUTES if route.path == path for method in route.methods or ()}


async def _fault(request: Request, error: Exception) -> Response:
    log.error("web", action="fault", path=request.url.path, exc_info=error)
    return problem_response(500, "internal", "This is a fault of ours; it has been logged.")
