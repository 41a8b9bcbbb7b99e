"""/v1/callbacks: what came, of every account, and what became of it; judged again on demand."""

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.store.authentication import OPERATOR
from service.accounts.web.authorize import account_filter, authorize
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import reverify
from service.callbacks.store.archive import CallbackFilter, CallbackRecord, CallbackSummary
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query, path_parameter
from service.kit.http.responses import json_response
from service.kit.timestamps import format_rfc3339
from service.request_context import resources
from service.resources import Resources


async def list_callbacks(request: Request) -> Response:
    caller, given = await authorize(request, OPERATOR), resources(request)
    query = Query(request)
    verdict = query.text("verdict", frozenset(Verdict))
    subject_id, source = query.text("subject"), query.text("source")
    account_id = await account_filter(request, caller, query)
    cursor = query.text("cursor")
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    query.finish()
    wanted = CallbackFilter(
        verdict=None if verdict is None else Verdict(verdict),
        subject_id=subject_id,
        source=source,
        account_id=account_id,
        before_id=cursor,
    )
    found, below, counts = await reverify.list_callbacks(given, wanted, limit)
    accounts = await reverify.account_names(given, found)
    shown = [_summary_json(*pair) for pair in zip(found, accounts, strict=True)]
    return json_response({"data": shown, "next_cursor": below, "counts": counts})


async def get_callback(request: Request) -> Response:
    await authorize(request, OPERATOR)
    found = await reverify.get_callback(resources(request), path_parameter(request, "callback_id"))
    return await _record_response(resources(request), found)


async def reverify_callback(request: Request) -> Response:
    await authorize(request, OPERATOR)
    found = await reverify.reverify(resources(request), path_parameter(request, "callback_id"))
    return await _record_response(resources(request), found)


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


async def _record_response(given: Resources, found: CallbackRecord) -> Response:
    (account,) = await reverify.account_names(given, [found.summary])
    shown = _summary_json(found.summary, account) | {
        "headers": reverify.redacted_headers(given, found)
    }
    return json_response(shown | _body_json(found.body))


def _body_json(body: bytes) -> dict[str, str]:
    """As text; beside it the bytes, where the text is not all of them."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        replaced = body.decode(errors="replace")
        return {"body": replaced, "body_base64": base64.b64encode(body).decode()}
