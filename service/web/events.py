"""Events by pull: a subject's, and an account's feed."""

import re

from starlette.requests import Request
from starlette.responses import Response

from service.core.errors import Malformed
from service.core.events import in_feed
from service.steps import reading
from service.store.events import Kept, Position
from service.web.requests import LIMIT, MAX_LIMIT, Query, authorize, in_path, resources
from service.web.responses import raw_page

CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
SEQUENCE_MAX = 1_000_000


async def of_subject(request: Request) -> Response:
    caller = await authorize(request, "subjects:read")
    query = Query(request)
    after = query.whole("after", 0, 0, SEQUENCE_MAX)
    limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
    query.done()
    found = await reading.subject_events(
        resources(request), caller.account_id, in_path(request, "subject_id"), after, limit
    )
    return raw_page(_shown(found), str(found[-1].sequence if found else after))


async def feed(request: Request) -> Response:
    caller = await authorize(request, "subjects:read")
    query = Query(request)
    after = _place(query.text("after"))
    limit = query.whole("limit", LIMIT, 1, MAX_LIMIT)
    query.done()
    found = await reading.feed(resources(request), caller.account_id, after, limit)
    last = found[-1].place if found else after
    return raw_page(_shown(found), f"{last.xid}-{last.position}")


def _shown(found: list[Kept]) -> list[bytes]:
    return [in_feed(event.id, event.body) for event in found]


def _place(cursor: str | None) -> Position:
    if cursor is None:
        return Position(0, 0)
    match = CURSOR.fullmatch(cursor)
    if match is None:
        raise Malformed("this cursor is not one of ours")
    return Position(int(match[1]), int(match[2]))
