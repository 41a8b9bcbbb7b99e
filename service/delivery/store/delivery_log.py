"""The delivery log: deliveries and their attempts, as the account that they belong to sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED, ListPosition
from service.kit.database.connection import Connection, Row
from service.subjects.store.events import delivery_id_sql

MAX_ATTEMPTS = 50  # shown of one delivery, the last; replayed again and again, it has ever more
# Deliveries of one subject: its six events at most, to the 100 subscribers that an account has if
# nothing else is set, and to its callback_url; and room for more.
MAX_OF_SUBJECT = 1000


@dataclass(frozen=True, slots=True)
class AttemptView:
    """A recorded attempt as its account sees it."""

    number: int  # from 1 on, over all replays of its delivery
    started_at: datetime  # when it began
    status: int | None  # HTTP status; None if there was none
    latency_ms: float  # milliseconds until the answer, or the failure
    error: str | None  # why it failed, in words; None if it was delivered
    response_body: bytes  # the start of the answer; empty in lists


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as its account sees it, and its ordering key."""

    id: str  # the delivery's
    event_id: str  # what it tells of
    subscriber_id: str  # whom it goes to
    type: str  # the event's
    state: DeliveryState
    # When the next attempt begins; None while one is under way, while an earlier delivery of the
    # same ordering key is pending, and once it has ended.
    due_at: datetime | None
    created_at: datetime  # when the event, or the replay, made it
    ordering_key: str  # the id of the event's subject, or the event's own if it tells of none
    attempts: Sequence[AttemptView] = field(kw_only=True)  # the last MAX_ATTEMPTS, oldest first

    @property
    def position(self) -> ListPosition:
        """Where it stands in a list."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which of a subscriber's deliveries a page lists."""

    state: DeliveryState | None = None  # None for any
    event_id: str | None = None  # None for any
    after: ListPosition | None = None  # the last row of the page before; None: the first page


# The columns of DeliveryView. The event is looked up for each delivery, not joined: so it is found
# by its id, whatever the planner thinks of the tables' sizes.
_COLUMNS = """
    d.id, d.event_id, d.subscriber_id,
    (SELECT e.type FROM events e WHERE e.id = d.event_id), d.state,
    CASE WHEN d.lease_token IS NULL THEN d.due_at END,  -- else it is the lease's end
    d.created_at, d.ordering_key
"""
_BY_ID = text(f"""
    SELECT {_COLUMNS} FROM deliveries d WHERE d.id = :id
    AND (SELECT s.account_id FROM subscribers s WHERE s.id = d.subscriber_id) = :account_id
""")  # noqa: S608 - our own words
# No index has the states of what has ended: `most` rows are scanned, and then the page ends.
_PAGE = text(f"""
    SELECT {_COLUMNS}, d.read, d.fits FROM (
        SELECT *, row_number() OVER (ORDER BY created_at DESC, id DESC) AS read,
            state = :state OR CAST(:state AS text) IS NULL AS fits
        FROM (
            SELECT id, event_id, subscriber_id, state, due_at, lease_token, created_at,
                ordering_key
            FROM deliveries
            WHERE subscriber_id = :subscriber_id
            AND (created_at, id) < (CAST(:created_at AS timestamptz), CAST(:id AS text))
            ORDER BY created_at DESC, id DESC LIMIT :most
        ) newest
    ) d
    WHERE d.fits OR d.read = :most
    ORDER BY d.read LIMIT :limit
""")  # noqa: S608 - likewise
_BY_EVENT = text(f"""
    SELECT {_COLUMNS} FROM deliveries d
    WHERE d.id = {delivery_id_sql("CAST(:event_id AS text)", "CAST(:subscriber_id AS text)")}
""")  # noqa: S608 - likewise
# Their ids begin with the subject's, and "_"; the character after that is "`".
_BY_SUBJECT = text(f"""
    SELECT {_COLUMNS} FROM deliveries d
    WHERE d.id > 'dlv_' || substr(CAST(:subject_id AS text), 5) || '_'
    AND d.id < 'dlv_' || substr(CAST(:subject_id AS text), 5) || '`'
    ORDER BY d.created_at DESC, d.id DESC LIMIT :limit
""")  # noqa: S608 - likewise
_ATTEMPTS = text("""
    SELECT a.* FROM unnest(CAST(:ids AS text[])) d (id)
    CROSS JOIN LATERAL (
        SELECT delivery_id, number, started_at, status, latency_ms, error,
            CASE WHEN :with_bodies THEN response_body ELSE '' END
        FROM attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT :most
    ) a
""")
_NEWEST: ListPosition = (datetime.max.replace(tzinfo=UTC), "")


async def get(tx: Connection, account_id: str, delivery_id: str) -> DeliveryView | None:
    """A delivery of this account, with the response bodies of its attempts; None if there is no
    such delivery."""
    rows = await tx.execute(_BY_ID, {"id": delivery_id, "account_id": account_id})
    return next(iter(await _views(tx, rows, with_bodies=True)), None)


async def page(
    tx: Connection, subscriber_id: str, criteria: DeliveryFilter, limit: int
) -> tuple[list[DeliveryView], ListPosition | None]:
    """At most `limit` deliveries of a subscriber, the newest first, and the position that the next
    page begins after; None at the end.

    Only MAX_ROWS_SCANNED are looked through, so a page may be short, or empty, and not the last.
    """
    if criteria.event_id is not None:
        return await _by_event(tx, subscriber_id, criteria), None
    most = limit + 1 if criteria.state is None else MAX_ROWS_SCANNED
    created_at, id_ = criteria.after or _NEWEST
    values = {
        "subscriber_id": subscriber_id,
        "state": criteria.state,
        "created_at": created_at,
        "id": id_,
        "most": most,
        "limit": limit + 1,
    }
    rows, last = bounded_scan.page_of(await tx.execute(_PAGE, values), limit, most)
    return await _views(tx, rows), None if last is None else (last["created_at"], last["id"])


async def by_subject(tx: Connection, subject_id: str) -> list[DeliveryView]:
    """The deliveries of a subject's events, also to its callback_url, the newest first; at most
    MAX_OF_SUBJECT."""
    values = {"subject_id": subject_id, "limit": MAX_OF_SUBJECT}
    return await _views(tx, await tx.execute(_BY_SUBJECT, values))


async def _by_event(
    tx: Connection, subscriber_id: str, criteria: DeliveryFilter
) -> list[DeliveryView]:
    """The delivery of the event to this subscriber, if there is one that meets the criteria."""
    values = {"subscriber_id": subscriber_id, "event_id": criteria.event_id}
    return [
        delivery
        for delivery in await _views(tx, await tx.execute(_BY_EVENT, values))
        if criteria.state in {None, delivery.state}
        and (criteria.after is None or delivery.position < criteria.after)
    ]


async def _views(
    tx: Connection, rows: Sequence[Row], *, with_bodies: bool = False
) -> list[DeliveryView]:
    """These deliveries, in their order, with their last attempts. Response bodies are read of a
    single delivery only: of a page's they could be 200 MB."""
    attempts: dict[str, list[AttemptView]] = {row["id"]: [] for row in rows}
    values = {"ids": list(attempts), "most": MAX_ATTEMPTS, "with_bodies": with_bodies}
    for delivery_id, *columns in await tx.execute(_ATTEMPTS, values) if attempts else ():
        attempts[delivery_id].insert(0, AttemptView(*columns))
    return [_view(row, attempts[row["id"]]) for row in rows]


def _view(row: Row, attempts: Sequence[AttemptView]) -> DeliveryView:
    id_, event_id, subscriber_id, type_, state, *rest = row[:8]
    return DeliveryView(
        id_, event_id, subscriber_id, type_, DeliveryState(state), *rest, attempts=attempts
    )
