"""Events as a stream: text/event-stream, as the HTML standard has it (section 9.2).

An open stream is its connection, uvicorn's task that waits for its end, and a Follower: nothing
else waits for each. Whoever has something to send makes a task for just that.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import FeedReader
from service.event_feed.store.feed import Position, StoredEvent
from service.event_feed.web import cursors
from service.event_feed.web.content_negotiation import STREAM
from service.kit.errors import Unavailable
from service.kit.http.connection_limits import CONNECTION_KEY, BoundedHttpProtocol
from service.subjects.domain.event import feed_entry

log = structlog.get_logger()

HEADERS = [
    (b"content-type", STREAM.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
LIFE = 3600.0  # seconds at most, and half of it at least: keys are revoked, processes are added
RETRY = 2000, 5000  # milliseconds until a reader comes again: not all in the same moment
PIECE = 16_384  # bytes at least of what is sent together, if there is as much
COMMENT = b":\n\n"
HANDED_ON = "callsheet.stream"  # where a scope has the stream that is to be run


def frames(
    events: Sequence[StoredEvent], *, of_subject: bool, account: str | None = None
) -> list[bytes]:
    """In pieces, of which a stream that stalls holds one; each with the name of its account, where
    that is given here or with the event."""
    pieces, piece = [], b""
    for event in events:
        cursor = cursors.shown(event.place, of_subject=of_subject).encode()
        data = feed_entry(event.id, event.body, account or event.account)
        piece += b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor, event.type.encode(), data)
        if len(piece) >= PIECE:
            pieces.append(piece)
            piece = b""
    return [*pieces, piece] if piece else pieces


WRITE = {of_subject: partial(frames, of_subject=of_subject) for of_subject in (False, True)}


@dataclass(frozen=True, slots=True)
class Feed:
    """What is read: a subject's events, an account's, or every account's. `account` is the name
    that each event is to have beside it."""

    account_id: str | None
    subject_id: str | None = None
    account: str | None = None


class SSEStream(FeedReader):
    """One reader's stream. Join it to the hub, and return it from a handler."""

    __slots__ = (
        *("_comment", "_ended", "_hub", "_pump", "_retry", "_send", "_until", "_wire"),
        "_write",
    )

    def __init__(self, hub: EventHub, feed: Feed, after: Position, random: float) -> None:
        super().__init__(feed.account_id, feed.subject_id, after)
        of_subject = feed.subject_id is not None
        self._write = WRITE[of_subject]
        if feed.account is not None:
            self._write = partial(frames, of_subject=of_subject, account=feed.account)
        self._hub = hub
        self._retry = int(RETRY[0] + random * (RETRY[1] - RETRY[0]))
        self._until = asyncio.get_running_loop().time() + LIFE * (1 - random / 2)
        self._wire: BoundedHttpProtocol | None = None
        self._send: Send | None = None  # None: before, and when it is over
        self._pump: asyncio.Task[None] | None = None
        self._comment = self._ended = False

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[HANDED_ON] = self

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the head of the answer until either side has enough."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            await self._begin(scope, send)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._hub.leave(self)
            self._send = None

    async def _begin(self, scope: Scope, send: Send) -> None:
        """It has the cursor in it, so that a reader who has seen no event yet resumes from here."""
        self._wire = scope.get("state", {}).get(CONNECTION_KEY)
        if self._wire is not None:
            self._wire.shrink_buffers()
        cursor = cursors.shown(self.after, of_subject=self.subject_id is not None)
        opening = f"retry: {self._retry}\nid: {cursor}\n\n".encode()
        await send({"type": "http.response.body", "body": opening, "more_body": True})
        self._send = send
        self.notify()

    def notify(self) -> None:
        if self._pump is None and self._send is not None:
            self._pump = asyncio.create_task(self._pump_out())

    def tick(self, now: float) -> None:
        if now > self._until:
            self.end()
        elif self._pump is None:  # otherwise it is just sending, or stalls
            self._comment = True
            self.notify()

    def end(self) -> None:
        """Properly if it is idle. Otherwise it may stall, and nothing is lost by a cut."""
        self._ended = True
        stalled = self._wire is not None and self._wire.stalled
        if self._pump is not None or stalled:
            self.abort()
        else:
            self.notify()

    def abort(self) -> None:
        """At once, with whatever it has not taken."""
        if self._wire is not None:
            self._wire.abort()

    async def _pump_out(self) -> None:
        try:
            await self._send_all()
        except Unavailable as error:
            log.warning("stream", action="stream_broken_off", error=repr(error.__cause__))
            self._ended = True
        except Exception:
            log.exception("stream", action="fault")
            self._ended = True
        if self._ended:
            await self._put(b"", more=False)
        self._pump = None

    async def _send_all(self) -> None:
        if self._comment:
            self._comment = False
            await self._put(COMMENT)
        while not self._ended and (batch := await self.next_batch()):
            for piece in batch.text(self._write):
                await self._put(piece)

    async def _put(self, body: bytes, *, more: bool = True) -> None:
        if self._send is not None:
            try:
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
            except (OSError, RuntimeError):  # uvloop's word for a reader who has just left
                self._ended, self._send = True, None


class SSEMiddleware:
    """Runs the stream that a handler returned once that and the router are through: else each
    would hold the frames of all of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        stream: SSEStream | None = scope.pop(HANDED_ON, None)
        if stream is not None:
            await stream.run(scope, receive, send)
