"""/v1/subscribers: create, read, list, change, try out, delete."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.steps import authenticate
from service.accounts.web.authorize import account_filter, authorize
from service.kit.crypto.key_formats import format_whpk
from service.kit.crypto.webhook_signatures import jwk_thumbprint
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
from service.subscribers.steps import manage, send_test
from service.subscribers.steps import read as subscribers_read
from service.subscribers.steps.read import SubscriberView

SCOPE = "subscribers"


async def create(request: Request) -> Response:
    caller, given = await authorize(request, SCOPE, allow_operator=False), resources(request)
    body = await read_json(request, MAX_SMALL_BODY)
    subscriber, secret = await manage.create(given, caller.account_id, body)
    location = public_path(request, f"/v1/subscribers/{subscriber.id}")
    headers = {"location": location, "cache-control": "no-store"}
    shown = _representation(await subscribers_read.view(given, subscriber))
    return json_response(shown | {"secret": secret} | caller.account_field, 201, headers)


async def read(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    seen = await subscribers_read.get_view(
        resources(request), caller.account_id, path_parameter(request, "subscriber_id")
    )
    return json_response(_representation(seen) | caller.account_field)


async def list_subscribers(request: Request) -> Response:
    caller, given = await authorize(request, SCOPE), resources(request)
    query = Query(request)
    below, limit = query.text("cursor"), query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    account_id = await account_filter(request, caller, query)
    query.finish()
    found, more = await subscribers_read.page(given, account_id, below, limit)
    cursor = found[-1].subscriber.id if more else None
    accounts = {seen.subscriber.account_id for seen in found}
    of = await authenticate.account_fields(given, caller, accounts)
    return page(
        [_representation(seen) | of.get(seen.subscriber.account_id, {}) for seen in found], cursor
    )


async def update(request: Request) -> Response:
    caller, given = await authorize(request, SCOPE), resources(request)
    subscriber_id = path_parameter(request, "subscriber_id")
    body = await read_json(request, MAX_SMALL_BODY)
    changed = await manage.update(given, caller.account_id, subscriber_id, body)
    return json_response(
        _representation(await subscribers_read.view(given, changed)) | caller.account_field
    )


async def delete(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    await manage.delete(
        resources(request), caller.account_id, path_parameter(request, "subscriber_id")
    )
    return Response(status_code=204)


async def send_test_event(request: Request) -> Response:
    caller = await authorize(request, SCOPE)
    tried = await send_test.send_test(
        resources(request), caller.account_id, path_parameter(request, "subscriber_id")
    )
    shown = {
        "event_id": tried.event_id,
        "delivered": tried.delivered,
        "status": tried.status,
        "latency_ms": round(tried.latency * 1000, 1),
        "error": tried.error,
        "answer": tried.answer,
    }
    return json_response(shown | caller.account_field)


def _representation(seen: SubscriberView) -> dict[str, Any]:
    one = seen.subscriber
    return {
        "id": one.id,
        "type": one.type,
        "url": one.url,
        "channel": one.channel,
        "description": one.description,
        "state": one.state,
        "disabled_reason": one.disabled_reason,
        "event_types": one.event_types,
        "reference_types": one.reference_types,
        "tags": one.tags,
        "order": one.ordering,
        "headers": seen.headers,
        "timeout": one.timeout,
        "concurrency": one.concurrency,
        "rate": one.max_rate,
        "schedule": one.schedule,
        "format": one.format,
        "signatures": one.signatures,
        "public_keys": [
            {"kid": jwk_thumbprint(key), "key": format_whpk(key)} for key in seen.public_keys
        ],
        "created_at": format_rfc3339(one.created_at),
    }
