"""/v1/callbacks: operators list and read the callbacks of every account, and verify them again."""

import base64
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import account_filter, actor_of, authorize
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import read
from service.callbacks.steps.reverify import reverify
from service.callbacks.store.archive import CallbackFilter, CallbackRecord, CallbackSummary
from service.kit.http.request import Request
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query, path_parameter
from service.kit.http.responses import json_response
from service.kit.timestamps import format_rfc3339
from service.request_context import resources


async def list_callbacks(request: Request) -> Response:
    """GET /v1/callbacks: a page of callbacks, newest first, and how many there are by verdict."""
    caller = await authorize(request, KeyScope.OPERATOR)
    query = Query(request)
    verdict = query.text("verdict", frozenset(Verdict))
    criteria = CallbackFilter(
        subject_id=query.text("subject"),
        source=query.text("source"),
        account_id=await account_filter(request, caller, query),
        after=query.text("cursor"),
    )
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    query.finish()
    criteria = replace(criteria, verdict=Verdict(verdict) if verdict is not None else None)
    callbacks, cursor, counts = await read.list_callbacks(resources(request), criteria, limit)
    accounts = await read.account_names(resources(request), callbacks)
    shown = [_summary_json(*pair) for pair in zip(callbacks, accounts, strict=True)]
    return json_response({"data": shown, "next_cursor": cursor, "counts": counts})


async def get_callback(request: Request) -> Response:
    """GET /v1/callbacks/{callback_id}: one callback with its headers and body."""
    await authorize(request, KeyScope.OPERATOR)
    callback_id = path_parameter(request, "callback_id")
    return await _whole(request, await read.get_callback(resources(request), callback_id))


async def reverify_callback(request: Request) -> Response:
    """POST /v1/callbacks/{callback_id}/reverify: the callback as it is stored afterwards."""
    actor = actor_of(request, await authorize(request, KeyScope.OPERATOR))
    callback_id = path_parameter(request, "callback_id")
    return await _whole(request, await reverify(resources(request), callback_id, actor))


def _summary_json(callback: CallbackSummary, account: str | None) -> dict[str, Any]:
    """A callback as operators see it; `account` is the name of its subject's account."""
    return {
        "id": callback.id,
        "account": account,
        "source": callback.source,
        "verdict": callback.verdict,
        "reason": callback.reason,
        "trust": callback.verification,
        "subject_id": callback.subject_id,
        "provider_task_id": callback.task_id,
        "status": callback.status,
        "provider_time": format_rfc3339(callback.provider_updated_at),
        "seen": callback.times_received,
        "size": callback.size,
        "received_at": format_rfc3339(callback.received_at),
    }


async def _whole(request: Request, callback: CallbackRecord) -> Response:
    (account,) = await read.account_names(resources(request), [callback.summary])
    headers = read.redacted_headers(resources(request), callback)
    summary = _summary_json(callback.summary, account)
    summary |= {"erased": callback.erased, "headers": headers}
    return json_response(summary | _body_json(callback.body))


def _body_json(body: bytes) -> dict[str, str]:
    """The body as text; and in Base64 too, if it is not UTF-8."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        replaced = body.decode(errors="replace")
        return {"body": replaced, "body_base64": base64.b64encode(body).decode()}
