"""/v1/subjects: create, read, list, cancel."""

from starlette.requests import Request
from starlette.responses import Response

from service.core.lifecycle import State
from service.core.subjects import public
from service.steps import cancel, intake, reading
from service.store.subjects import Wanted
from service.web.places import cursor_of, read_cursor
from service.web.requests import (
    LIMIT,
    MAX_LIMIT,
    MAX_SUBJECT_BODY,
    Query,
    authorize,
    in_path,
    read_json,
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
    cursor = cursor_of(found[-1].created_at, found[-1].id) if more else None
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
        below=read_cursor(query.text("cursor")),
    )
