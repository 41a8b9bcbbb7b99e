"""The ASGI application: its list of routes, and what its handlers share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from service.accounts.web import actions
from service.accounts.web.contents import checked_response
from service.callbacks.steps.ingest import show_zeros
from service.callbacks.web import admin
from service.callbacks.web.receive import CallbackEndpoint
from service.compat_api.web import routes as compat_api_routes
from service.delivery.web import routes as delivery_routes
from service.erasure.web import routes as erasure_routes
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.web import routes as event_feed_routes
from service.intake.web import routes as intake_routes
from service.kit.http.answered_requests import ROUTE, WAITED, finish_request
from service.kit.http.dispatch import respond
from service.kit.http.large_bodies import LargeBodyReader
from service.kit.http.request_id import given_request_id, with_request_id
from service.kit.http.routing import RouteTable, route
from service.kit.request_id import set_request_id
from service.metrics import WAITS
from service.openapi import routes as openapi
from service.operations.web import health, holds, metrics, operations
from service.request_batchers import Batchers, make_batchers
from service.resources import Resources
from service.status.web import routes as status_routes
from service.story.web import routes as story_routes
from service.subscribers.web import routes as subscribers_routes
from service.subscribers.web import signing_secrets
from service.usage.steps import refusals
from service.usage.web import routes as usage_routes

ROUTES = [
    route("/v1/subjects", intake_routes.create, "POST"),
    route("/v1/subjects/batch", intake_routes.create_batch, "POST"),
    route("/v1/subjects", status_routes.list_subjects, "GET"),
    route("/v1/subjects/{subject_id}", status_routes.read, "GET"),
    route("/v1/subjects/{subject_id}", erasure_routes.erase, "DELETE"),
    route("/v1/subjects/{subject_id}/cancel", status_routes.cancel, "POST"),
    route("/v1/subjects/{subject_id}/events", event_feed_routes.subject_events, "GET"),
    route("/v1/subjects/{subject_id}/deliveries", delivery_routes.list_of_subject, "GET"),
    route("/v1/subjects/{subject_id}/story", story_routes.read, "GET"),
    route("/v1/events", event_feed_routes.account_events, "GET"),
    route("/v1/subscribers", subscribers_routes.create, "POST"),
    route("/v1/subscribers", subscribers_routes.list_subscribers, "GET"),
    route("/v1/subscribers/{subscriber_id}", subscribers_routes.read, "GET"),
    route("/v1/subscribers/{subscriber_id}", subscribers_routes.update, "PATCH"),
    route("/v1/subscribers/{subscriber_id}", subscribers_routes.delete, "DELETE"),
    route("/v1/subscribers/{subscriber_id}/test", subscribers_routes.send_test_event, "POST"),
    route("/v1/subscribers/{subscriber_id}/deliveries", delivery_routes.list_of_subscriber, "GET"),
    route("/v1/subscribers/{subscriber_id}/replay", operations.replay, "POST"),
    route("/v1/deliveries/{delivery_id}", delivery_routes.get, "GET"),
    route("/v1/deliveries/{delivery_id}/resend", delivery_routes.resend, "POST"),
    route("/v1/subscribers/{subscriber_id}/rotate-secret", signing_secrets.rotate_secret, "POST"),
    route("/v1/account/callback-secret", signing_secrets.read_callback_secret, "GET"),
    route("/v1/account/callback-secret/rotate", signing_secrets.rotate_callback_secret, "POST"),
    route("/.well-known/jwks.json", signing_secrets.jwks, "GET"),
    route("/v1/callbacks", admin.list_callbacks, "GET"),
    route("/v1/callbacks/{callback_id}", admin.get_callback, "GET"),
    route("/v1/callbacks/{callback_id}/reverify", admin.reverify_callback, "POST"),
    route("/v1/holds", holds.create, "POST"),
    route("/v1/holds", holds.list_holds, "GET"),
    route("/v1/holds/{hold_id}", holds.release, "DELETE"),
    route("/v1/actions", actions.list_actions, "GET"),
    route("/v1/operations", operations.create, "POST"),
    route("/v1/operations", operations.list_operations, "GET"),
    route("/v1/operations/{operation_id}", operations.get, "GET"),
    route("/v1/operations/{operation_id}/stop", operations.stop, "POST"),
    route("/v1/usage", usage_routes.usage, "GET"),
    route("/v1/capabilities", intake_routes.capabilities, "GET"),
    *compat_api_routes.ROUTES,
    route("/healthz", health.healthz, "GET"),
    route("/readyz", health.readyz, "GET"),
    route("/metrics", metrics.metrics, "GET"),
    route("/openapi.json", openapi.openapi, "GET"),
    route("/docs", openapi.docs, "GET"),
]
TABLE = RouteTable(ROUTES)


@asynccontextmanager
async def _lifespan(app: "Application") -> AsyncIterator[None]:
    """The event hub, the batchers and the counts of refusals run as long as the application."""
    async with (
        refusals.stored_periodically(lambda: app.state.resources),
        app.state.hub,
        app.state.batchers.open(),
    ):
        yield


@dataclass(slots=True)
class ApplicationState:
    """What the handlers of one application share."""

    resources: Resources
    hub: EventHub  # wakes those who wait for events
    bodies: LargeBodyReader
    batchers: Batchers


class Application:
    """The ASGI application over open resources: callbacks, and the routes."""

    def __init__(self, resources: Resources) -> None:
        self.state = ApplicationState(
            resources,
            EventHub(resources),
            LargeBodyReader(),
            make_batchers(lambda: self.state.resources),
        )
        show_zeros(resources.settings.callback_sources)
        self._lifespan = Router(lifespan=_lifespan)
        self._http = CallbackEndpoint(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        request_id = given_request_id(scope["headers"]) or self.state.resources.new_id("req")
        set_request_id(request_id)
        await self._http(scope, receive, with_request_id(send, request_id))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        # Its frames are gone while a stream runs.
        response = await respond(TABLE, scope, receive, checked_response)
        await response(scope, receive, send)
        if WAITED in scope:
            WAITS.inc()
        elif isinstance(response, Response):  # else it is a stream
            finish_request(scope, scope.get(ROUTE, ""), response, began)


def build(resources: Resources) -> Application:
    """The ASGI application over open resources."""
    return Application(resources)
