"""What was sent to subscribers, what came of it, and sending it anew."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.web.authorize import authorize
from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.steps import delivery_log, replay
from service.delivery.store.delivery_log import AttemptView, DeliveryFilter, DeliveryView
from service.kit.http.cursors import decode_cursor, encode_cursor
from service.kit.http.requests import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_SMALL_BODY,
    Query,
    path_parameter,
    read_json,
)
from service.kit.http.responses import json_response, page
from service.kit.text import escape_unprintable
from service.kit.timestamps import format_rfc3339
from service.request_context import resources

SCOPE = "subscribers"
STATES = frozenset(DeliveryState)


async def of_subscriber(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    query = Query(request)
    wanted = DeliveryFilter(
        state=query.text("state", STATES),
        event_id=query.text("event_id"),
        below=decode_cursor(query.text("cursor")),
    )
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    query.finish()
    found, below = await delivery_log.of_subscriber(
        resources(request),
        caller.account_id,
        path_parameter(request, "subscriber_id"),
        wanted,
        limit,
    )
    shown = [_delivery(delivery) | caller.account_field for delivery in found]
    return page(shown, below and encode_cursor(*below))


async def of_subject(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    Query(request).finish()
    found = await delivery_log.of_subject(
        resources(request), caller.account_id, path_parameter(request, "subject_id")
    )
    return page([_delivery(delivery) | caller.account_field for delivery in found], None)


async def read(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    found = await delivery_log.get(
        resources(request), caller.account_id, path_parameter(request, "delivery_id")
    )
    return json_response(_delivery(found, answers=True) | caller.account_field)


async def resend(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    sent = await replay.resend(
        resources(request), caller.account_id, path_parameter(request, "delivery_id")
    )
    return json_response(_delivery(sent) | caller.account_field, 202)


async def replay_all(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    body = await read_json(request, MAX_SMALL_BODY)
    done = await replay.replay_events(
        resources(request), caller.account_id, path_parameter(request, "subscriber_id"), body
    )
    shown = {"count": done.count, "dry_run": done.dry_run} | caller.account_field
    return json_response(shown, 200 if done.dry_run else 202)


def _delivery(delivery: DeliveryView, *, answers: bool = False) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "subscriber_id": delivery.subscriber_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempts": [
            {"id": f"{delivery.id}.{attempt.number}"}
            | _attempt(attempt)
            | ({"answer": escape_unprintable(attempt.response_body)} if answers else {})
            for attempt in delivery.attempts
        ],
        "next_attempt_at": format_rfc3339(delivery.due_at),
        "created_at": format_rfc3339(delivery.created_at),
    }


def _attempt(attempt: AttemptView) -> dict[str, Any]:
    return {
        "at": format_rfc3339(attempt.started_at),
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
    }
