"""/v1/deliveries, and the deliveries of a subscriber or a subject: read and resent."""

from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import actor_of, authorize
from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.steps import delivery_log
from service.delivery.steps import replay as replay_steps
from service.delivery.steps import why as why_steps
from service.delivery.store.delivery_log import DeliveryFilter, DeliveryView
from service.kit.http.cursors import decode_cursor, encode_cursor
from service.kit.http.request import Request
from service.kit.http.requests import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Query,
    path_parameter,
)
from service.kit.http.responses import json_response, page
from service.kit.text import escape_unprintable
from service.kit.timestamps import format_rfc3339
from service.request_context import resources
from service.subjects.domain.why import why_member

STATES = frozenset(DeliveryState)


async def list_of_subscriber(request: Request) -> Response:
    """GET /v1/subscribers/{subscriber_id}/deliveries: a page, by `state` or `event_id`."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    query = Query(request)
    state = query.text("state", STATES)
    criteria = DeliveryFilter(
        state=DeliveryState(state) if state in STATES else None,
        event_id=query.text("event_id"),
        after=decode_cursor(query.text("cursor")),
    )
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    query.finish()
    subscriber_id = path_parameter(request, "subscriber_id")
    deliveries, last = await delivery_log.list_of_subscriber(
        resources(request), caller.account_id, subscriber_id, criteria, limit
    )
    shown = [_shown(delivery) | caller.account_field for delivery in deliveries]
    return page(shown, last and encode_cursor(*last))


async def list_of_subject(request: Request) -> Response:
    """GET /v1/subjects/{subject_id}/deliveries: all of them, on one page."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    Query(request).finish()
    deliveries = await delivery_log.list_of_subject(
        resources(request), caller.account_id, path_parameter(request, "subject_id")
    )
    return page([_shown(delivery) | caller.account_field for delivery in deliveries], None)


async def get(request: Request) -> Response:
    """GET /v1/deliveries/{delivery_id}: with what its attempts were answered, and why it waits."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    delivery = await delivery_log.get(
        resources(request), caller.account_id, path_parameter(request, "delivery_id")
    )
    why = await why_steps.of_delivery(resources(request), delivery)
    shown = _shown(delivery, with_answers=True) | caller.account_field
    return json_response(shown | why_member(why))


async def resend(request: Request) -> Response:
    """POST /v1/deliveries/{delivery_id}/resend: 202, and the delivery."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    delivery = await replay_steps.resend(
        resources(request),
        caller.account_id,
        path_parameter(request, "delivery_id"),
        actor_of(request, caller),
    )
    return json_response(_shown(delivery) | caller.account_field, 202)


def _shown(delivery: DeliveryView, *, with_answers: bool = False) -> dict[str, Any]:
    """A delivery as JSON; `with_answers`, with the response bodies of its attempts."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "subscriber_id": delivery.subscriber_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempts": [
            {
                "id": f"{delivery.id}.{attempt.number}",
                "at": format_rfc3339(attempt.started_at),
                "status": attempt.status,
                "latency_ms": attempt.latency_ms,
                "error": attempt.error,
            }
            | ({"answer": escape_unprintable(attempt.response_body)} if with_answers else {})
            for attempt in delivery.attempts
        ],
        "next_attempt_at": format_rfc3339(delivery.due_at),
        "created_at": format_rfc3339(delivery.created_at),
    }
