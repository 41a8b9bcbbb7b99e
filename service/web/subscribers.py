"""/v1/subscribers: create, read, list, delete, and what was delivered to one."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.core.subjects import rfc3339
from service.steps import reading, subscribe
from service.store.deliveries import Recorded, Shown
from service.store.subscribers import Subscriber
from service.web.requests import (
    LIMIT,
    MAX_LIMIT,
    MAX_SMALL_BODY,
    Query,
    authorize,
    in_path,
    read_json,
    resources,
)
from service.web.responses import page, rendered

SCOPE = "subscribers"


async def create(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    body = await read_json(request, MAX_SMALL_BODY)
    subscriber, secret = await subscribe.subscribe(resources(request), caller.account_id, body)
    location = {"location": f"/v1/subscribers/{subscriber.id}"}
    return rendered(_public(subscriber) | {"secret": secret}, 201, location)


async def read(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    subscriber = await subscribe.subscriber(
        resources(request), caller.account_id, in_path(request, "subscriber_id")
    )
    return rendered(_public(subscriber))


async def page_of(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    query = Query(request)
    below, limit = query.text("cursor"), query.whole("limit", LIMIT, 1, MAX_LIMIT)
    query.done()
    found, more = await subscribe.subscribers_page(
        resources(request), caller.account_id, below, limit
    )
    return page([_public(one) for one in found], found[-1].id if more else None)


async def delete(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    await subscribe.unsubscribe(
        resources(request), caller.account_id, in_path(request, "subscriber_id")
    )
    return Response(status_code=204)


async def deliveries(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    query = Query(request)
    limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
    query.done()
    found = await reading.subscriber_deliveries(
        resources(request), caller.account_id, in_path(request, "subscriber_id"), limit
    )
    return page([_delivery(one) for one in found], None)


def _public(subscriber: Subscriber) -> dict[str, Any]:
    types = subscriber.event_types
    return {
        "id": subscriber.id,
        "url": subscriber.url,
        "description": subscriber.description,
        "state": subscriber.state,
        "disabled_reason": subscriber.disabled_reason,
        "event_types": None if types is None else list(types),
        "signatures": ["v1"],
        "created_at": rfc3339(subscriber.created_at),
    }


def _delivery(delivery: Shown) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "subscriber_id": delivery.subscriber_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempts": [_attempt(one) for one in delivery.attempts],
        "next_attempt_at": rfc3339(delivery.due_at),
        "created_at": rfc3339(delivery.created_at),
    }


def _attempt(attempt: Recorded) -> dict[str, Any]:
    return {
        "at": rfc3339(attempt.at),
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
    }
