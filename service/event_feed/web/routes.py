"""GET /v1/events and /v1/subjects/{id}/events: pages, long polls (`wait`), and streams (SSE) that
resume after Last-Event-ID."""

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import account_filter, authorize
from service.accounts.web.contents import record_look
from service.event_feed.domain.places import START, Place
from service.event_feed.steps import read
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import BatchWaiter, FeedGapError
from service.event_feed.web import cursors
from service.event_feed.web.sse import STREAM, Feed, SSEStream
from service.kit.http.answered_requests import WAITED
from service.kit.http.content_negotiation import wants
from service.kit.http.headers import single_header
from service.kit.http.request import Request
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query, path_parameter
from service.kit.http.responses import raw_page
from service.request_context import resources
from service.status.web.conditional import capped_wait
from service.subjects.domain.event import feed_entry

MAX_WAIT = 999_999_999  # seconds; what is too long is capped, not refused


async def subject_events(request: Request) -> Response | SSEStream:
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    account = caller.account_name if caller.sees_all else None
    subject_id = path_parameter(request, "subject_id")
    feed = Feed(caller.account_id, subject_id, account, hides_contents=caller.hides_contents)
    return await _answer(request, feed, Query(request))


async def account_events(request: Request) -> Response | SSEStream:
    caller, query = await authorize(request, KeyScope.SUBJECTS_READ), Query(request)
    account_id = await account_filter(request, caller, query)
    account = query.text("account") if caller.sees_all else None
    feed = Feed(account_id, account=account, hides_contents=caller.hides_contents)
    return await _answer(request, feed, query)


async def _answer(request: Request, feed: Feed, query: Query) -> Response | SSEStream:
    after = query.text("after")
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    wait = capped_wait(query.integer("wait", 0, 0, MAX_WAIT))
    query.finish()
    streams = wants(request, STREAM)
    if streams:
        # An empty Last-Event-ID stands for none.
        after = single_header(request.headers, "last-event-id") or after
    of_subject = feed.subject_id is not None
    place = None if after is None else cursors.read(after, of_subject=of_subject)
    try:
        if streams:
            return await _stream(request, feed, place)
        return await _page(request, feed, place or Place(START), limit, wait)
    except FeedGapError as gap:
        raise cursors.expired(gap.oldest, of_subject=of_subject) from None


async def _stream(request: Request, feed: Feed, place: Place | None) -> SSEStream:
    """A stream of what comes after a place; None: from the subject's first event, or in other
    feeds from now."""
    hub = _hub(request)
    if place is None and feed.subject_id is None:
        place = Place(*await hub.now())
    else:
        place = await read.opening(
            resources(request), feed.account_id, feed.subject_id, place or Place(START)
        )
    await record_look(request)
    stream = SSEStream(hub, feed, place, resources(request).random())
    await hub.join(stream)
    return stream


async def _page(request: Request, feed: Feed, place: Place, limit: int, wait: int) -> Response:
    """The events there are; if none, the first that come within `wait` seconds (a long poll)."""
    account_id, subject_id = feed.account_id, feed.subject_id
    page = await read.page(resources(request), account_id, subject_id, place, limit)
    found, place = page.events, page.place
    if not found and wait:
        request.scope[WAITED] = True
        waiter = BatchWaiter(
            account_id,
            subject_id,
            place.position,
            epoch=place.epoch,
            acknowledged=place.acknowledged,
        )
        found = (await _hub(request).wait(waiter, wait))[:limit]
        last = found[-1].position if found else place.position
        place = Place(last, place.epoch, waiter.acknowledged)
    shown = [feed_entry(event.id, event.body, feed.account or event.account) for event in found]
    response = raw_page(shown, cursors.shown_place(place, of_subject=subject_id is not None))
    if _hub(request).closed:
        response.headers["connection"] = "close"  # the client is to ask another process
    return response


def _hub(request: Request) -> EventHub:
    found: EventHub = request.app.state.hub
    return found
