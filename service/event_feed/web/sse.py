"""Server-Sent Events (SSE): an event feed as a stream that resumes after Last-Event-ID.

The format is the HTML standard's text/event-stream (section 9.2 there). An open stream costs its
connection, uvicorn's task that waits for its end, and a FeedReader; only while there is something
to send is there a task for that.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import structlog
from starlette.types import Receive, Scope, Send

from service.accounts.domain.contents import without_contents
from service.event_feed.domain.places import Place, Position
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import Batch, Encode, FeedGapError, FeedReader
from service.event_feed.store.feed import StoredEvent
from service.event_feed.web import cursors
from service.kit.errors import NotFound, Unavailable
from service.kit.http.connection_limits import CONNECTION_KEY, BoundedHttpProtocol
from service.metrics import STREAMS
from service.subjects.domain.event import feed_entry

log = structlog.get_logger()

STREAM = "text/event-stream"
HEADERS = [
    (b"content-type", STREAM.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
LIFETIME = 3600.0  # seconds at most, and half of it at least: keys are revoked, processes added
RETRY = 2000, 5000  # milliseconds until a client reconnects: not all at the same moment
MIN_PIECE = 16_384  # bytes at least of what is sent together, if there is as much
KEEP_ALIVE = b":\n\n"  # a comment


def encode(
    events: Sequence[StoredEvent],
    *,
    cursor_at: Callable[[Position], str],
    account: str | None = None,
    hides_contents: bool = False,
) -> list[bytes]:
    """Events as SSE frames, in pieces, of which a stalled stream holds one. The id of a frame is
    the cursor after its event, as `cursor_at` gives it. `account` is the name that each event has
    beside it; None: the event's own, if it has one. `hides_contents`: with null in place of
    contents."""
    pieces, piece = [], b""
    for event in events:
        cursor = cursor_at(event.position).encode()
        data = feed_entry(event.id, event.body, account or event.account)
        if hides_contents:
            data = without_contents(data)
        piece += b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor, event.type.encode(), data)
        if len(piece) >= MIN_PIECE:
            pieces.append(piece)
            piece = b""
    return [*pieces, piece] if piece else pieces


@cache
def encoder(*, of_subject: bool, epoch: int) -> partial[list[bytes]]:
    """One function for all streams of a kind: a batch is encoded once for all who use the same."""
    return partial(encode, cursor_at=partial(cursors.shown, of_subject=of_subject, epoch=epoch))


@dataclass(frozen=True, slots=True)
class Feed:
    """Which events are read."""

    account_id: str | None  # None: those of every account
    subject_id: str | None = None  # None: those of all subjects of the account
    account: str | None = None  # the account's name, if each event is to have it beside it
    hides_contents: bool = False  # from a reader that may not see them


class SSEStream(FeedReader):
    """One client's stream. A handler joins it to the hub and returns it as its response."""

    __slots__ = (
        "_connection",
        "_encode",
        "_ended",
        "_ends_at",
        "_hub",
        "_keep_alive_due",
        "_retry",
        "_send",
        "_sending",
    )

    def __init__(self, hub: EventHub, feed: Feed, place: Place, random: float) -> None:
        """`random` is a number in [0, 1), so that streams end and reconnect at different times."""
        super().__init__(
            feed.account_id,
            feed.subject_id,
            place.position,
            epoch=place.epoch,
            acknowledged=place.acknowledged,
        )
        self._encode = encoder(of_subject=feed.subject_id is not None, epoch=place.epoch)
        if feed.account is not None or feed.hides_contents:
            self._encode = partial(
                self._encode,
                account=feed.account,
                hides_contents=feed.hides_contents,
            )
        self._hub = hub
        self._retry = int(RETRY[0] + random * (RETRY[1] - RETRY[0]))
        self._ends_at = asyncio.get_running_loop().time() + LIFETIME * (1 - random / 2)
        self._connection: BoundedHttpProtocol | None = None  # None: not served by our server
        self._send: Send | None = None  # None: before it has begun, and after its end
        self._sending: asyncio.Task[None] | None = None  # None: it is idle
        self._keep_alive_due = self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, from the head of the response until either side ends it."""
        STREAMS.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            await self._begin(scope, send)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            STREAMS.dec()
            self._hub.leave(self)
            self._send = None

    async def _begin(self, scope: Scope, send: Send) -> None:
        """Send a first frame that has a cursor and no event, so that a client that has seen no
        event yet resumes from here."""
        self._connection = scope.get("state", {}).get(CONNECTION_KEY)
        if self._connection is not None:
            self._connection.shrink_buffers()
        place = Place(self.after, self.epoch or 0, self.acknowledged)
        cursor = cursors.shown_place(place, of_subject=self.subject_id is not None)
        opening = f"retry: {self._retry}\nid: {cursor}\n\n".encode()
        await send({"type": "http.response.body", "body": opening, "more_body": True})
        self._send = send
        self.notify()

    def notify(self) -> None:
        if self._sending is None and self._send is not None:
            self._sending = asyncio.create_task(self._send_safely())

    def tick(self, now: float) -> None:
        if now > self._ends_at:
            self.end()
        elif self._sending is None:  # otherwise it is just sending, or the client stalls
            self._keep_alive_due = True
            self.notify()

    def end(self) -> None:
        """End the response properly if the stream is idle; else abort it, since the client may have
        stalled, and resumes with nothing lost."""
        self._ended = True
        stalled = self._connection is not None and self._connection.stalled
        if self._sending is not None or stalled:
            self.abort()
        else:
            self.notify()

    def abort(self) -> None:
        """Close the connection at once, with whatever the client has not taken."""
        if self._connection is not None:
            self._connection.abort()

    async def _send_safely(self) -> None:
        try:
            await self._send_all()
        except Unavailable as error:
            log.warning("stream", action="stream_aborted", error=repr(error.__cause__))
            self._ended = True
        except (FeedGapError, NotFound):  # the client comes again, and is told so
            self._ended = True
        except Exception:
            log.exception("stream", action="fault")
            self._ended = True
        if self._ended:
            await self._send_piece(b"", more=False)
        self._sending = None

    async def _send_all(self) -> None:
        if self._keep_alive_due:
            self._keep_alive_due = False
            await self._send_piece(KEEP_ALIVE)
        while not self._ended and (batch := await self.next_batch()):
            for piece in batch.encoded(self._encoder_of(batch)):
                await self._send_piece(piece)

    def _encoder_of(self, batch: Batch) -> Encode:
        """What encodes a batch: with what the reader acknowledges, if that is not behind it."""
        if batch.events[0].position >= self.acknowledged:
            return self._encode
        cursor_at = partial(self._encode.keywords["cursor_at"], acknowledged=self.acknowledged)
        return partial(self._encode, cursor_at=cursor_at)

    async def _send_piece(self, body: bytes, *, more: bool = True) -> None:
        if self._send is not None:
            try:
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
            except (OSError, RuntimeError):  # uvloop raises it where a client has just left
                self._ended, self._send = True, None
