"""The calls that tell what happened, as pages and as streams."""

from typing import Any

from service.web.conditional import MOST_HELD
from service.web.content_negotiation import STREAM
from service.web.cursors import OF_FEED
from service.web.events import MOST_ASKED
from service.web.openapi.operations import (
    Part,
    answer,
    component,
    in_header,
    in_query,
    operation,
)
from service.web.openapi.pieces import Schema, page_of, ref, text, whole
from service.web.openapi.problems import fails

READ, TAG = "subjects:read", "events"
FEED_PLACE = text(pattern=f"^{OF_FEED.pattern.replace('(', '').replace(')', '')}$")
SUBJECT_PLACE = text(pattern=r"^(\d{1,6}|1000000)$")
WAIT = in_query(
    "wait",
    whole(0, MOST_ASKED) | {"default": 0},
    f"Seconds for which an empty page is held open until something comes; after {MOST_HELD} it is "
    "answered anyway.",
    0,
)
AFTER = "What `next_cursor` of a page said, or the `id:` line of an event in a stream."
DESCRIPTION = (
    "Oldest first. With `Accept: text/event-stream` the same goes on as a stream of server-sent "
    "events: `id` is the cursor, `event` the type, `data` one `Event`. "
)
FROM_START = "Without `after`, or `Last-Event-ID`, both begin with the subject's first event."
FROM_NOW = (
    "Without `after` a page begins with the oldest event there is; without it and `Last-Event-ID` "
    "a stream begins now."
)


def paths() -> dict[str, Any]:
    of_subject = _events(
        "readEventsOfSubject",
        "What happened to a subject",
        SUBJECT_PLACE,
        "0",
        FROM_START,
        [component("subject_id")],
        404,
    )
    of = [component("account")]
    feed = _events("readEvents", "What happened in the account", FEED_PLACE, "0-0", FROM_NOW, of)
    return {
        "/v1/subjects/{subject_id}/events": {"get": of_subject},
        "/v1/events": {"get": feed},
    }


def _events(  # noqa: PLR0913, PLR0917 - that is how the two differ
    id_: str, summary: str, place: Schema, first: str, start: str, of: list[Part], *more: int
) -> Part:
    resume = "Instead of `after`, from clients that connect again. Read for streams alone."
    stream = {STREAM: {"schema": text("Server-sent events, until either side has enough.")}}
    page = answer("A page, or the stream.", page_of(ref("Event"), place))
    page["content"] |= stream
    return operation(
        id_,
        summary,
        tag=TAG,
        scope=READ,
        description=DESCRIPTION + start,
        parameters=[
            *of,
            in_query("after", place, AFTER, first),
            component("limit"),
            WAIT,
            in_header("Last-Event-ID", text(), resume),
        ],
        answers={"200": page, **fails(400, 422, *more)},
    )
