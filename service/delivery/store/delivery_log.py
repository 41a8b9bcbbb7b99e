"""What became of deliveries, attempt by attempt, as their account sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED, ListPosition
from service.kit.database.connection import Connection, Row

MOST_ATTEMPTS = 50  # of one delivery that are shown, the last; sent anew again and again, it grows
# Of one subject: its six events at most, to the 100 subscribers that an account has if nothing else
# is set, and to its callback_url; and room for more.
MOST_OF_SUBJECT = 1000


@dataclass(frozen=True, slots=True)
class AttemptView:
    """A recorded attempt as its account sees it."""

    number: int
    """From 1 on, over all replays of its delivery."""
    started_at: datetime
    status: int | None
    """The HTTP status; None if there was none."""
    latency_ms: float
    error: str | None
    """Why it failed, in words; None if it was delivered."""
    response_body: bytes
    """Empty in lists: of a page it could be 200 MB."""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as its account sees it."""

    id: str
    event_id: str
    subscriber_id: str
    type: str
    state: DeliveryState
    due_at: datetime | None
    """When the next attempt begins; None while one is under way, before it is the delivery's turn,
    and once it has ended."""
    created_at: datetime
    attempts: tuple[AttemptView, ...]
    """The last MOST_ATTEMPTS, the oldest first."""

    @property
    def place(self) -> ListPosition:
        """Where it stands in the list."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What a list of deliveries is narrowed to; None asks for all."""

    state: str | None = None
    event_id: str | None = None
    below: ListPosition | None = None
    """The place of the last one seen."""


@dataclass(frozen=True, slots=True)
class OwnedDelivery:
    """What a delivery belongs to."""

    event_id: str
    subscriber_id: str
    ordering_key: str


# What belongs to a delivery is looked up for it, not joined: so it is found by its id, whatever is
# thought of the tables' sizes.
_COLUMNS = """
    d.id, d.event_id, d.subscriber_id, d.state, d.created_at,
    CASE WHEN d.lease_token IS NULL THEN d.due_at END AS due_at,  -- else it is the lease's end
    (SELECT e.type FROM events e WHERE e.id = d.event_id) AS type
"""
_OF_ACCOUNT = """
    d.id = :id
    AND (SELECT s.account_id FROM subscribers s WHERE s.id = d.subscriber_id) = :account_id
"""
_ONE = text(f"SELECT {_COLUMNS} FROM deliveries d WHERE {_OF_ACCOUNT}")  # noqa: S608 - our own words
_OWNED = text(f"""
    SELECT d.event_id, d.subscriber_id, d.ordering_key FROM deliveries d WHERE {_OF_ACCOUNT}
""")  # noqa: S608 - likewise
# No index has the states of what has ended: so many are looked through, and then the page ends.
_PAGE = text(f"""
    SELECT {_COLUMNS}, d.read, d.fits FROM (
        SELECT *, row_number() OVER (ORDER BY created_at DESC, id DESC) AS read,
            state = :state OR CAST(:state AS text) IS NULL AS fits
        FROM (
            SELECT id, event_id, subscriber_id, state, due_at, lease_token, created_at
            FROM deliveries
            WHERE subscriber_id = :subscriber_id
            AND (created_at, id) < (CAST(:created_at AS timestamptz), CAST(:id AS text))
            ORDER BY created_at DESC, id DESC LIMIT :most
        ) newest
    ) d
    WHERE d.fits OR d.read = :most
    ORDER BY d.read LIMIT :limit
""")  # noqa: S608 - likewise
# As a range of pairs it is served by the one index that leads there directly.
_OF_EVENT = text(f"""
    SELECT {_COLUMNS} FROM deliveries d
    WHERE (d.event_id, d.subscriber_id) >= (CAST(:event_id AS text), CAST(:subscriber_id AS text))
    AND (d.event_id, d.subscriber_id) <= (CAST(:event_id AS text), CAST(:subscriber_id AS text))
""")  # noqa: S608 - likewise
_OF_SUBJECT = text(f"""
    SELECT {_COLUMNS} FROM deliveries d
    WHERE d.event_id = ANY (ARRAY(
        SELECT id FROM events WHERE subject_id = :subject_id ORDER BY sequence DESC
    ))
    ORDER BY d.created_at DESC, d.id DESC LIMIT :limit
""")  # noqa: S608 - likewise
_ATTEMPTS = text("""
    SELECT a.* FROM unnest(CAST(:ids AS text[])) d (id)
    CROSS JOIN LATERAL (
        SELECT delivery_id, number, started_at, status, latency_ms, error,
            CASE WHEN :answers THEN response_body ELSE '' END
        FROM attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT :most
    ) a
""")
_TOP: ListPosition = (datetime.max.replace(tzinfo=UTC), "")


async def get(tx: Connection, account_id: str, delivery_id: str) -> DeliveryView | None:
    """A delivery of this account with what its attempts were answered; None if there is none."""
    rows = await tx.execute(_ONE, {"id": delivery_id, "account_id": account_id})
    return next(iter(await _views(tx, rows, answers=True)), None)


async def owned(tx: Connection, account_id: str, delivery_id: str) -> OwnedDelivery | None:
    """What a delivery of this account belongs to; None if there is none."""
    row = await tx.first(_OWNED, {"id": delivery_id, "account_id": account_id})
    return None if row is None else OwnedDelivery(*row)


async def page(
    tx: Connection, subscriber_id: str, wanted: DeliveryFilter, limit: int
) -> tuple[list[DeliveryView], ListPosition | None]:
    """A subscriber's deliveries, the newest first, and where to go on below; None at the end.

    Only MOST_READ are looked through, so a page may be short, or empty, and not the last.
    """
    if wanted.event_id is not None:
        return await _of_event(tx, subscriber_id, wanted.event_id, wanted), None
    most = limit + 1 if wanted.state is None else MAX_ROWS_SCANNED
    created_at, id_ = wanted.below or _TOP
    values = {
        "subscriber_id": subscriber_id,
        "state": wanted.state,
        "created_at": created_at,
        "id": id_,
        "most": most,
        "limit": limit + 1,
    }
    rows = await tx.execute(_PAGE, values)
    fit, last = bounded_scan.page_of(rows, limit, most)
    shown = await _views(tx, fit)
    return shown, None if last is None else (last["created_at"], last["id"])


async def by_subject(tx: Connection, subject_id: str) -> list[DeliveryView]:
    """The deliveries of a subject's events, also to its callback_url, the newest first; at most
    MOST_OF_SUBJECT."""
    rows = await tx.execute(_OF_SUBJECT, {"subject_id": subject_id, "limit": MOST_OF_SUBJECT})
    return await _views(tx, rows)


async def _of_event(
    tx: Connection, subscriber_id: str, event_id: str, wanted: DeliveryFilter
) -> list[DeliveryView]:
    """The one delivery that there is at most, if it is among what is wanted."""
    rows = await tx.execute(_OF_EVENT, {"subscriber_id": subscriber_id, "event_id": event_id})
    found = await _views(tx, rows)
    return [
        delivery
        for delivery in found
        if wanted.state in {None, delivery.state}
        and (wanted.below is None or delivery.place < wanted.below)
    ]


async def _views(
    tx: Connection, rows: Sequence[Row], *, answers: bool = False
) -> list[DeliveryView]:
    """These deliveries with the last of their attempts, in their order. What was answered is read
    of one delivery only: of a page's it could be 200 MB."""
    made: dict[str, list[AttemptView]] = {row["id"]: [] for row in rows}
    values = {"ids": list(made), "most": MOST_ATTEMPTS, "answers": answers}
    for delivery_id, *attempt in await tx.execute(_ATTEMPTS, values) if made else ():
        made[delivery_id].insert(0, AttemptView(*attempt))
    return [_view(row, made[row["id"]]) for row in rows]


def _view(row: Row, attempts: Sequence[AttemptView]) -> DeliveryView:
    return DeliveryView(
        row["id"],
        row["event_id"],
        row["subscriber_id"],
        row["type"],
        DeliveryState(row["state"]),
        row["due_at"],
        row["created_at"],
        tuple(attempts),
    )
