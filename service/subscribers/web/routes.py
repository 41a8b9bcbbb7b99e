"""/v1/subscribers: create, read, list, update, test, delete."""

from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, actor_of, authorize
from service.delivery.steps import why as why_steps
from service.kit.crypto.key_formats import format_whpk
from service.kit.crypto.webhook_signatures import jwk_thumbprint
from service.kit.http.request import Request
from service.kit.http.requests import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_SMALL_BODY,
    Query,
    path_parameter,
    read_json,
)
from service.kit.http.responses import json_response, page
from service.kit.timestamps import format_rfc3339
from service.request_context import public_path, resources
from service.subjects.domain.why import why_member
from service.subscribers.steps import manage, send_test
from service.subscribers.steps import read as subscribers_read
from service.subscribers.steps.read import SubscriberView
from service.subscribers.store.subscribers import Subscriber


async def create(request: Request) -> Response:
    """POST /v1/subscribers: 201 with the new subscriber, and its secret this once."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS, allow_operator=False)
    body = await read_json(request, MAX_SMALL_BODY)
    subscriber, secret = await manage.create(
        resources(request), caller.account_id, body, actor_of(request, caller)
    )
    location = public_path(request, f"/v1/subscribers/{subscriber.id}")
    headers = {"location": location, "cache-control": "no-store"}
    view = await subscribers_read.view(resources(request), subscriber)
    answer = _representation(view) | {"secret": secret} | caller.account_field
    return json_response(answer, 201, headers)


async def read(request: Request) -> Response:
    """GET /v1/subscribers/{subscriber_id}: one subscriber, without secrets, and why it waits if it
    does."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    subscriber_id = path_parameter(request, "subscriber_id")
    subscriber = await subscribers_read.get_subscriber(
        resources(request), caller.account_id, subscriber_id
    )
    return await _answer(request, caller, subscriber)


async def list_subscribers(request: Request) -> Response:
    """GET /v1/subscribers: a page, the newest first, each with why it waits if it does; `cursor` is
    the last id of the page before."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    query = Query(request)
    after, limit = query.text("cursor"), query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    account_id = await account_filter(request, caller, query)
    query.finish()
    views, more = await subscribers_read.page(resources(request), account_id, after, limit)
    account_ids = {view.subscriber.account_id for view in views}
    fields = await authenticate.account_fields(resources(request), caller, account_ids)
    ids = [view.subscriber.id for view in views]
    whys = await why_steps.of_subscribers(resources(request), ids)
    entries = [
        _representation(view)
        | fields.get(view.subscriber.account_id, {})
        | why_member(whys.get(view.subscriber.id))
        for view in views
    ]
    return page(entries, ids[-1] if more else None)


async def update(request: Request) -> Response:
    """PATCH /v1/subscribers/{subscriber_id}: the subscriber as it is after the change."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    subscriber_id = path_parameter(request, "subscriber_id")
    body = await read_json(request, MAX_SMALL_BODY)
    subscriber = await manage.update(
        resources(request), caller.account_id, subscriber_id, body, actor_of(request, caller)
    )
    return await _answer(request, caller, subscriber)


async def delete(request: Request) -> Response:
    """DELETE /v1/subscribers/{subscriber_id}: 204 once its deliveries are deleted too."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    subscriber_id = path_parameter(request, "subscriber_id")
    await manage.delete(
        resources(request), caller.account_id, subscriber_id, actor_of(request, caller)
    )
    return Response(status_code=204)


async def send_test_event(request: Request) -> Response:
    """POST /v1/subscribers/{subscriber_id}/test: the outcome of one attempt."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    subscriber_id = path_parameter(request, "subscriber_id")
    result = await send_test.send_test(
        resources(request), caller.account_id, subscriber_id, actor_of(request, caller)
    )
    answer = {
        "event_id": result.event_id,
        "delivered": result.delivered,
        "status": result.status,
        "latency_ms": round(result.latency * 1000, 1),
        "error": result.error,
        "answer": result.answer,
    }
    return json_response(answer | caller.account_field)


async def _answer(request: Request, caller: Caller, subscriber: Subscriber) -> Response:
    """One subscriber, and why it is sent nothing if it is not."""
    view = await subscribers_read.view(resources(request), subscriber)
    whys = await why_steps.of_subscribers(resources(request), [subscriber.id])
    why = why_member(whys.get(subscriber.id))
    return json_response(_representation(view) | caller.account_field | why)


def _representation(view: SubscriberView) -> dict[str, Any]:
    subscriber = view.subscriber
    return {
        "id": subscriber.id,
        "type": subscriber.type,
        "url": subscriber.url,
        "channel": subscriber.channel,
        "description": subscriber.description,
        "state": subscriber.state,
        "disabled_reason": subscriber.disabled_reason,
        "event_types": subscriber.event_types,
        "reference_types": subscriber.reference_types,
        "tags": subscriber.tags,
        "order": subscriber.ordering,
        "headers": view.headers,
        "timeout": subscriber.timeout,
        "concurrency": subscriber.concurrency,
        "rate": subscriber.max_rate,
        "schedule": subscriber.schedule,
        "format": subscriber.format,
        "signatures": subscriber.signatures,
        "public_keys": [
            {"kid": jwk_thumbprint(key), "key": format_whpk(key)} for key in view.public_keys
        ],
        "created_at": format_rfc3339(subscriber.created_at),
    }
