"""GET /v1/subjects, GET /v1/subjects/{id} with ETag and long poll, POST …/cancel."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, actor_of, authorize
from service.erasure.domain.erasure import erasure_tag
from service.erasure.steps.show import erasure_member, erasures_of
from service.intake.domain.request_rules import TAGS, external_id
from service.kit.errors import Malformed, NotFound
from service.kit.http.answered_requests import WAITED
from service.kit.http.cursors import decode_cursor, encode_cursor
from service.kit.http.request import Request
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query, path_parameter, refuse_query
from service.kit.http.responses import json_response, page
from service.request_context import resources
from service.retention.domain.retention import kept_until_member
from service.status.steps import cancel as cancel_steps
from service.status.steps import read as status_read
from service.status.steps import why as why_steps
from service.status.steps.long_poll import LongPoll
from service.status.store.subject_lists import SubjectFilter
from service.status.web.conditional import (
    IfNoneMatch,
    capped_wait,
    opaque_tag,
    parse_if_none_match,
    preferred_wait,
    retry_after,
)
from service.subjects.domain.lifecycle import State
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import WaitingView
from service.subjects.domain.why import why_member

STATES = frozenset(state.value for state in State)
# A caller may store a response, and revalidates it each time. There is no Vary: Prefer decides when
# the response comes, not what is in it.
CACHE_CONTROL = "private, no-cache"


async def read(request: Request) -> Response:
    """Answer at once; with Prefer: wait, once the subject's ETag is none of those in If-None-Match,
    or (without that header) once it has changed."""
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    refuse_query(request)
    read_again = partial(_read, request, caller.account_id, path_parameter(request, "subject_id"))
    subject, if_none_match = await read_again(), parse_if_none_match(request.headers)
    seconds = preferred_wait(request.headers)
    if seconds is not None:
        long_poll = LongPoll(request.app.state.hub, subject, read_again)
        done = partial(_is_done, if_none_match.or_present(subject))
        if seconds and not done(subject):
            request.scope[WAITED] = True
        later = await _wait(request, long_poll, done, capped_wait(seconds))
        seconds, subject = (None, subject) if later is None else (seconds, later)
    return await _answer(request, caller, subject, if_none_match, seconds)


async def list_subjects(request: Request) -> Response:
    caller, app_resources = await authorize(request, KeyScope.SUBJECTS_READ), resources(request)
    query = Query(request)
    criteria = _criteria(query)
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    account_id = await account_filter(request, caller, query)
    query.finish()
    found, last = await status_read.subjects_page(app_resources, account_id, criteria, limit)
    account_ids = {subject.account_id for subject in found}
    account_fields = await authenticate.account_fields(app_resources, caller, account_ids)
    positions = await status_read.queue_positions(app_resources, found)
    erasures = await erasures_of(app_resources, found)
    shown = [
        public_subject(subject)
        | kept_until_member(subject, app_resources.settings)
        | account_fields.get(subject.account_id, {})
        | await _why_member(request, subject, position)
        | await erasure_member(app_resources, erasures.get(subject.id))
        for subject, position in zip(found, positions, strict=True)
    ]
    return page(shown, last and encode_cursor(*last))


async def cancel(request: Request) -> Response:
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE)
    subject = await cancel_steps.cancel(
        resources(request),
        caller.account_id,
        path_parameter(request, "subject_id"),
        actor_of(request, caller),
    )
    kept_until = kept_until_member(subject, resources(request).settings)
    return json_response(public_subject(subject) | kept_until | caller.account_field)


async def _read(request: Request, account_id: str, subject_id: str) -> WaitingView:
    """A subject as it is now, read in one batch with what others read; NotFound if the account has
    no such subject."""
    found: WaitingView | None = await request.app.state.batchers.subjects.submit(
        (account_id, subject_id)
    )
    if found is None:
        raise NotFound
    return found


def _is_done(if_none_match: IfNoneMatch, subject: WaitingView) -> bool:
    """Whether there is nothing to wait for: it has ended, or is not what the caller has."""
    return subject.finished_at is not None or not if_none_match.matches_subject(subject)


async def _wait(
    request: Request, long_poll: LongPoll, done: Callable[[WaitingView], bool], seconds: float
) -> WaitingView | None:
    """Wait until the subject is `done`, but no longer than the caller stays connected."""
    disconnect = asyncio.create_task(_on_disconnect(request, long_poll.end))
    try:
        return await long_poll.until(done, seconds)
    finally:
        disconnect.cancel()


async def _on_disconnect(request: Request, action: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    action()


async def _answer(
    request: Request,
    caller: Caller,
    subject: WaitingView,
    if_none_match: IfNoneMatch,
    waited: int | None,
) -> Response:
    """The subject, or 304 if the caller has it; `waited` is the wait that was applied, in seconds
    (None: there was none)."""
    erasure = (await erasures_of(resources(request), [subject])).get(subject.id)
    tag = opaque_tag(subject) + (erasure_tag(erasure) if erasure else "")
    headers = {"etag": f'W/"{tag}"', "cache-control": CACHE_CONTROL}
    if subject.finished_at is None:
        headers["retry-after"] = str(retry_after(_age(request, subject)))
    if waited is not None:
        headers["preference-applied"] = f"wait={waited}"
    if request.app.state.hub.closed:
        headers["connection"] = "close"  # the client is to ask another process
    if if_none_match.matches(tag):
        return Response(None, 304, headers)
    shown = public_subject(subject)
    shown |= caller.account_field
    if subject.finished_at is None:
        shown |= await _waiting_members(request, subject)
    else:
        shown |= kept_until_member(subject, resources(request).settings)
    shown |= await erasure_member(resources(request), erasure)
    return json_response(shown, 200, headers)


async def _waiting_members(request: Request, subject: WaitingView) -> dict[str, Any]:
    """The members of a subject that is not finished: `queue` of a queued one, which is its position
    and its age in whole seconds, and `why`. The position is counted in one batch with what others
    ask for."""
    members: dict[str, Any] = {}
    position: int | None = None
    if subject.state is State.QUEUED:
        position = await request.app.state.batchers.queue_positions.submit(subject)
        age = max(0, int(_age(request, subject)))
        members["queue"] = {"position": position, "age_seconds": age}
    return members | await _why_member(request, subject, position)


async def _why_member(
    request: Request, subject: WaitingView, position: int | None = None
) -> dict[str, Any]:
    """The member `why` of a subject; empty if it is finished."""
    return why_member(await why_steps.why(resources(request), subject, position))


def _age(request: Request, subject: WaitingView) -> float:
    """Seconds since the subject was accepted."""
    return (resources(request).clock() - subject.created_at).total_seconds()


def _criteria(query: Query) -> SubjectFilter:
    state = query.text("state", STATES)
    return SubjectFilter(
        state=State(state) if state in STATES else None,
        external_task_id=query.field("external_task_id", external_id),
        tag=query.text("tag", frozenset(TAGS)),
        created_after=query.time("created_after"),
        created_before=query.time("created_before"),
        after=_position(query.text("cursor")),
    )


def _position(cursor: str | None) -> tuple[datetime, str] | None:
    """The position that a cursor stands for; Malformed if no list of subjects gave it. The subject
    that it names need not exist any more."""
    position = decode_cursor(cursor)
    if position and (not position[1].startswith("sub_") or encode_cursor(*position) != cursor):
        raise Malformed("This cursor was not made by this service.")
    return position
