"""/v1/subjects: read, list, cancel. Creating is in create.py."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, authorize
from service.intake.domain.request_rules import TAGS, external_id
from service.kit.errors import Malformed, NotFound
from service.kit.http.cursors import decode_cursor, encode_cursor
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query, path_parameter
from service.kit.http.responses import json_response, page
from service.request_context import resources
from service.status.steps import cancel
from service.status.steps import read as status_read
from service.status.steps.long_poll import LongPoll
from service.status.store.subject_lists import SubjectFilter
from service.status.web.conditional import (
    IfNoneMatch,
    capped_wait,
    etag,
    parse_if_none_match,
    retry_after,
    wait,
)
from service.subjects.domain.lifecycle import State
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import Subject

STATES = frozenset(state.value for state in State)
# A caller may keep what it read, and asks each time whether that still holds. There is no Vary: a
# preference decides when the answer comes, and not what is in it.
KEPT = "private, no-cache"


async def read(request: Request) -> Response:
    """At once; or, as far as the caller prefers to wait, when there is something else than it has.
    It has what If-None-Match names, or else what there was when it asked."""
    caller = await authorize(request, "subjects:read")
    Query(request).finish()
    look = partial(_look, request, caller.account_id, path_parameter(request, "subject_id"))
    subject, has = await look(), parse_if_none_match(request.headers)
    seconds = wait(request.headers)
    if seconds is not None:
        watch = LongPoll(request.app.state.hub, subject, look)
        enough = partial(_enough, has.or_else(subject))
        later = await _with_caller(request, watch, enough, capped_wait(seconds))
        seconds, subject = (None, subject) if later is None else (seconds, later)
    return await _answer(request, caller, subject, has, seconds)


async def page_of(request: Request) -> Response:
    caller, given = await authorize(request, "subjects:read"), resources(request)
    query = Query(request)
    wanted = _wanted(query)
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    account_id = await account_filter(request, caller, query)
    query.finish()
    found, below = await status_read.subjects_page(given, account_id, wanted, limit)
    of = await authenticate.account_fields(given, caller, {subject.account_id for subject in found})
    shown = [public_subject(subject) | of.get(subject.account_id, {}) for subject in found]
    return page(shown, below and encode_cursor(*below))


async def cancel_one(request: Request) -> Response:
    caller = await authorize(request, "subjects:write")
    subject = await cancel.cancel(
        resources(request), caller.account_id, path_parameter(request, "subject_id")
    )
    return json_response(public_subject(subject) | caller.account_field)


async def _look(request: Request, account_id: str, subject_id: str) -> Subject:
    """As it is now; read together with what others look for. NotFound if the account has none."""
    found: Subject | None = await request.app.state.batchers.subjects.submit(
        (account_id, subject_id)
    )
    if found is None:
        raise NotFound
    return found


def _enough(has: IfNoneMatch, subject: Subject) -> bool:
    """Whether there is nothing to wait for."""
    return subject.finished_at is not None or not has.includes(subject)


async def _with_caller(
    request: Request, watch: LongPoll, enough: Callable[[Subject], bool], seconds: float
) -> Subject | None:
    """What is seen, as long as the caller is there to be told."""
    leaving = asyncio.create_task(_left(request, watch.end))
    try:
        return await watch.until(enough, seconds)
    finally:
        leaving.cancel()


async def _left(request: Request, then: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    then()


async def _answer(
    request: Request, caller: Caller, subject: Subject, has: IfNoneMatch, waited: int | None
) -> Response:
    age = (resources(request).clock() - subject.created_at).total_seconds()
    headers = {"etag": etag(subject), "cache-control": KEPT}
    if subject.finished_at is None:
        headers["retry-after"] = str(retry_after(age))
    if waited is not None:
        headers["preference-applied"] = f"wait={waited}"
    if request.app.state.hub.closed:
        headers["connection"] = "close"  # ask another process
    if has.includes(subject):
        return Response(None, 304, headers)
    shown = public_subject(subject) | caller.account_field
    if subject.state is State.QUEUED:
        shown |= await _place(request, subject, age)
    return json_response(shown, 200, headers)


async def _place(request: Request, subject: Subject, age: float) -> dict[str, Any]:
    """Where it is in its account's queue, and since how many whole seconds it is known; nothing if
    it is queued no more. Counted together with what others ask for."""
    position: int | None = await request.app.state.batchers.queue_positions.submit(subject)
    if position is None:
        return {}
    return {"queue": {"position": position, "age_seconds": max(0, int(age))}}


def _wanted(query: Query) -> SubjectFilter:
    state = query.text("state", STATES)
    return SubjectFilter(
        state=State(state) if state in STATES else None,
        external_task_id=query.field("external_task_id", external_id),
        tag=query.text("tag", frozenset(TAGS)),
        created_after=query.time("created_after"),
        created_before=query.time("created_before"),
        below=_below(query.text("cursor")),
    )


def _below(cursor: str | None) -> tuple[datetime, str] | None:
    """Malformed if no list of subjects gave it. What it names need not be there any more."""
    place = decode_cursor(cursor)
    if place and (not place[1].startswith("sub_") or encode_cursor(*place) != cursor):
        raise Malformed("this cursor is not one of ours")
    return place
