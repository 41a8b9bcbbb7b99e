"""/v1/subjects: create, read, list, cancel."""

import base64
import binascii
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from service.core.errors import Malformed
from service.core.lifecycle import State
from service.core.subjects import Subject, public
from service.steps import cancel, intake, reading
from service.store.subjects import Wanted
from service.web.requests import (
    LIMIT,
    MAX_CURSOR,
    MAX_LIMIT,
    MAX_SUBJECT_BODY,
    Query,
    authorize,
    in_path,
    read_json,
    read_time,
    resources,
)
from service.web.responses import page, rendered

STATES = frozenset(state.value for state in State)


async def create(request: Request) -> Response:
    caller = await authorize(request, "subjects:write")
    body = await read_json(request, MAX_SUBJECT_BODY)
    accepted = await intake.accept(
        resources(request), caller.account_id, body, request.headers.get("idempotency-key")
    )
    shown = public(accepted.subject)
    if accepted.warnings:
        shown["warnings"] = accepted.warnings
    location = {"location": f"/v1/subjects/{accepted.subject.id}"}
    return rendered(shown, 202 if accepted.created else 200, location)


async def read(request: Request) -> Response:
    caller = await authorize(request, "subjects:read")
    subject = await reading.subject(
        resources(request), caller.account_id, in_path(request, "subject_id")
    )
    return rendered(public(subject))


async def page_of(request: Request) -> Response:
    caller = await authorize(request, "subjects:read")
    query = Query(request)
    wanted = _wanted(query)
    limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
    query.done()
    found, more = await reading.subjects_page(resources(request), caller.account_id, wanted, limit)
    cursor = _cursor(found[-1]) if more else None
    return page([public(subject) for subject in found], cursor)


async def cancel_one(request: Request) -> Response:
    caller = await authorize(request, "subjects:write")
    subject = await cancel.cancel(
        resources(request), caller.account_id, in_path(request, "subject_id")
    )
    return rendered(public(subject))


def _wanted(query: Query) -> Wanted:
    state = query.text("state", STATES)
    return Wanted(
        state=State(state) if state in STATES else None,
        external_task_id=query.text("external_task_id"),
        tag=query.text("tag"),
        created_after=query.time("created_after"),
        created_before=query.time("created_before"),
        below=_place(query.text("cursor")),
    )


def _cursor(last: Subject) -> str:
    text = f"{last.created_at.isoformat()} {last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    try:
        padded = cursor[:MAX_CURSOR] + "=" * (-len(cursor) % 4)
        moment, _, subject_id = base64.urlsafe_b64decode(padded).decode("ascii").partition(" ")
    except (ValueError, binascii.Error):
        raise Malformed("this cursor is not one of ours") from None
    created_at = read_time(moment)
    if created_at is None or "\0" in subject_id:
        raise Malformed("this cursor is not one of ours")
    return created_at, subject_id
