"""Events by pull: a subject's, and an account's feed; as pages, or as streams that go on."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from service.core.events import in_feed
from service.steps import reading
from service.steps.feed import Hub
from service.steps.follow import START, Waiter
from service.store.feed import Kept, Position
from service.web import cursors
from service.web.accept import wants_stream
from service.web.conditional import held
from service.web.headers import only
from service.web.requests import LIMIT, MAX_LIMIT, Query, authorize, in_path, resources
from service.web.responses import raw_page
from service.web.streams import Stream

MOST_ASKED = 999_999_999  # seconds


async def of_subject(request: Request) -> Response | Stream:
    caller = await authorize(request, "subjects:read")
    return await _answer(request, caller.account_id, in_path(request, "subject_id"))


async def feed(request: Request) -> Response | Stream:
    caller = await authorize(request, "subjects:read")
    return await _answer(request, caller.account_id, None)


async def _answer(request: Request, account_id: str, subject_id: str | None) -> Response | Stream:
    query = Query(request)
    after = query.text("after")
    limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
    wait = held(query.whole("wait", 0, 0, MOST_ASKED))
    query.done()
    if wants_stream(",".join(request.headers.getlist("accept"))):
        after = (
            only(request.headers, "last-event-id") or after
        )  # an empty one means that it has none
        return await _stream(request, account_id, subject_id, _place(after, subject_id))
    place = _place(after, subject_id) or START
    return await _page(request, Waiter(account_id, subject_id, place), limit, wait)


def _place(cursor: str | None, subject_id: str | None) -> Position | None:
    return None if cursor is None else cursors.read(cursor, of_subject=subject_id is not None)


async def _stream(
    request: Request, account_id: str, subject_id: str | None, after: Position | None
) -> Stream:
    hub = _hub(request)
    if subject_id is not None:
        await reading.subject(resources(request), account_id, subject_id)
        after = after or START
    dice = resources(request).dice()
    stream = Stream(hub, account_id, subject_id, after or await hub.now(), dice)
    await hub.join(stream)
    return stream


async def _page(request: Request, waiter: Waiter, limit: int, wait: int) -> Response:
    """What there is; else the first that comes within `wait` seconds."""
    after, subject_id = waiter.after, waiter.subject_id
    found: Sequence[Kept]
    if subject_id is None:
        found = await reading.feed(resources(request), waiter.account_id, after, limit)
    else:
        found = await reading.subject_events(
            resources(request), waiter.account_id, subject_id, after, limit
        )
    if not found and wait:
        found = (await _hub(request).wait(waiter, wait))[:limit]
    last = found[-1].place if found else after
    shown = [in_feed(event.id, event.body) for event in found]
    response = raw_page(shown, cursors.shown(last, of_subject=subject_id is not None))
    if _hub(request).closed:
        response.headers["connection"] = "close"  # ask another process
    return response


def _hub(request: Request) -> Hub:
    found: Hub = request.app.state.hub
    return found
