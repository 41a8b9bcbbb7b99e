"""Deliveries that a bulk operation sends anew: those that had ended by its cut-off.

They are read in the order of their subscribers and ages, or of their ids where one event's are
asked for. An operation that sends some of them does not meet them again: then they are pending, or
ended after its cut-off.
"""

from collections import Counter
from datetime import UTC, datetime

from sqlalchemy import TextClause, text

from service.delivery.domain.delivery_state import DeliveryState
from service.kit.database.connection import Connection, Row
from service.kit.timestamps import parse_rfc3339
from service.operations.domain.bulk import SCANNED, Chunk, Filter, Item, Position
from service.operations.store.operations import Operation

_START: Position = {"subscriber_id": "", "created_at": "0001-01-01T00:00:00+00:00", "id": ""}


def _statement(scanned: str) -> TextClause:
    """`scanned` selects the next deliveries by an index, whatever they are."""
    return text(f"""
        SELECT d.*, s.state = 'disabled' AS disabled,
            (SELECT e.body IS NULL FROM events e WHERE e.id = d.event_id) IS TRUE AS erased,
            d.state <> 'pending' AND d.finished_at <= :cut_off
            AND (d.state = :state OR CAST(:state AS text) IS NULL)
            AND (s.account_id = :account_id OR CAST(:account_id AS text) IS NULL)
            AND (d.subscriber_id = :subscriber OR CAST(:subscriber AS text) IS NULL)
            AND (d.created_at > :created_after OR CAST(:created_after AS timestamptz) IS NULL)
            AND (d.created_at < :created_before OR CAST(:created_before AS timestamptz) IS NULL)
            AS fits
        FROM (
            SELECT id, event_id, subscriber_id, ordering_key, created_at, state, finished_at
            FROM deliveries WHERE {scanned} LIMIT :scanned
        ) d
        LEFT JOIN LATERAL (
            SELECT account_id, state FROM subscribers WHERE id = d.subscriber_id LIMIT 1
        ) s ON true
        ORDER BY d.subscriber_id, d.created_at, d.id
    """)  # noqa: S608 - only our own words are put in


_IN_ORDER = """(subscriber_id, created_at, id)
    > (CAST(:subscriber_id AS text), CAST(:created_at AS timestamptz), CAST(:id AS text))
    ORDER BY subscriber_id, created_at, id"""
_DEAD = _statement(f"state = 'dead' AND {_IN_ORDER}")
_DEAD_OF_SUBSCRIBER = _statement(f"state = 'dead' AND subscriber_id = :subscriber AND {_IN_ORDER}")
_OF_SUBSCRIBER = _statement(f"subscriber_id = :subscriber AND {_IN_ORDER}")
# Their ids begin with the event's, and "_"; the character after that is "`". There are no more
# than the account has subscribers: all are read at once.
_OF_EVENT = _statement("""id > 'dlv_' || substr(CAST(:event_id AS text), 5) || '_'
    AND id < 'dlv_' || substr(CAST(:event_id AS text), 5) || '`'
    AND (subscriber_id, created_at, id)
    > (CAST(:subscriber_id AS text), CAST(:created_at AS timestamptz), CAST(:id AS text))
    ORDER BY id""")


def _choose(given: Filter) -> TextClause:
    """The statement that reads least."""
    if "event_id" in given:
        return _OF_EVENT
    if given.get("state") != DeliveryState.DEAD:
        return _OF_SUBSCRIBER
    return _DEAD_OF_SUBSCRIBER if "subscriber_id" in given else _DEAD


async def read(tx: Connection, operation: Operation, most: int) -> Chunk:
    """The next deliveries to be sent anew, at most `most` of them, among the next SCANNED."""
    given = operation.filter
    start = operation.position or _START
    values = {
        **start,
        "created_at": datetime.fromisoformat(start["created_at"]),
        "account_id": operation.account_id,
        "subscriber": given.get("subscriber_id"),
        "event_id": given.get("event_id"),
        "state": given.get("state"),
        "created_after": _time(given, "created_after"),
        "created_before": _time(given, "created_before"),
        "cut_off": operation.cut_off,
        "scanned": SCANNED,
    }
    rows = await tx.execute(_choose(given), values)
    items: list[Item] = []
    cannot: Counter[str] = Counter()
    for row in rows:
        if not row["fits"]:
            continue
        if row["erased"] or row["disabled"]:
            cannot["event_erased" if row["erased"] else "subscriber_disabled"] += 1
            continue
        items.append(_item(row))
        if len(items) == most:
            return Chunk(items, _position(row), cannot)
    rest = _position(rows[-1]) if len(rows) == SCANNED else None
    return Chunk(items, rest, cannot)


def _time(given: Filter, name: str) -> datetime | None:
    return parse_rfc3339(given[name]) if name in given else None


def _item(row: Row) -> Item:
    return Item(row["id"], row["state"], row["ordering_key"], row["event_id"], row["subscriber_id"])


def _position(row: Row) -> Position:
    at = row["created_at"].astimezone(UTC).isoformat()
    return {"subscriber_id": row["subscriber_id"], "created_at": at, "id": row["id"]}
