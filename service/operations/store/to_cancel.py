"""Subjects that a bulk operation cancels: those queued that were made by its cut-off.

They are read in the order of the queues; one that is canceled is not in it any more.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TextClause, text

from service.kit.database.connection import Connection
from service.kit.timestamps import parse_rfc3339
from service.operations.domain.bulk import SCANNED, Chunk, Item, Position
from service.operations.store.operations import Operation
from service.schema.base import one_of
from service.subjects.domain.lifecycle import WITH_PROVIDER, State

_START: Position = {"account_id": "", "available_at": "0001-01-01T00:00:00+00:00", "id": ""}
_FITS = """
    created_at <= :cut_off
    AND (state = :state OR CAST(:state AS text) IS NULL)
    AND (account_id = :account_id OR CAST(:account_id AS text) IS NULL)
    AND (external_task_id = :external_id OR CAST(:external_id AS text) IS NULL)
    AND (tags @> ARRAY[CAST(:tag AS text)] OR CAST(:tag AS text) IS NULL)
    AND (created_at > :created_after OR CAST(:created_after AS timestamptz) IS NULL)
    AND (created_at < :created_before OR CAST(:created_before AS timestamptz) IS NULL)
"""


def _queued(scanned: str) -> TextClause:
    return text(f"""
        SELECT account_id, available_at, id, ({_FITS}) IS TRUE AS fits
        FROM (
            SELECT account_id, available_at, id, state, external_task_id, tags, created_at
            FROM subjects WHERE state = 'queued' AND {scanned}
            AND (account_id, available_at, id) > (
                CAST(:after_account AS text), CAST(:after_time AS timestamptz),
                CAST(:after_id AS text)
            )
            ORDER BY account_id, available_at, id LIMIT :scanned
        ) queue
        ORDER BY account_id, available_at, id
    """)  # noqa: S608 - only our own words are put in


_QUEUED = _queued("true")
_QUEUED_OF_ACCOUNT = _queued("account_id = :account_id")
# There are never more of these than the provider's parallel limit allows.
_WITH_PROVIDER = text(f"""
    SELECT state, count(*) FROM subjects
    WHERE state IN ({one_of(WITH_PROVIDER)}) AND {_FITS}
    GROUP BY state
""")  # noqa: S608 - likewise


async def read(tx: Connection, operation: Operation, most: int) -> Chunk:
    """The next subjects to be canceled, at most `most` of them, among the next SCANNED that are
    queued."""
    start = operation.position or _START
    values = _values(operation) | {
        "after_account": start["account_id"],
        "after_time": datetime.fromisoformat(start["available_at"]),
        "after_id": start["id"],
        "scanned": SCANNED,
    }
    rows = await tx.execute(_QUEUED if operation.account_id is None else _QUEUED_OF_ACCOUNT, values)
    items = []
    for row in rows:
        if row["fits"]:
            items.append(Item(row["id"], State.QUEUED, row["id"]))
        if len(items) == most:
            return Chunk(items, _position(row))
    return Chunk(items, _position(rows[-1]) if len(rows) == SCANNED else None)


async def count_with_provider(tx: Connection, operation: Operation) -> dict[str, int]:
    """How many subjects that meet the filter are with the provider, and so cannot be canceled, by
    their state."""
    return dict(await tx.execute(_WITH_PROVIDER, _values(operation)))


def _values(operation: Operation) -> dict[str, Any]:
    given = operation.filter
    times = {
        name: parse_rfc3339(given[name]) if name in given else None
        for name in ("created_after", "created_before")
    }
    return times | {
        "account_id": operation.account_id,
        "state": given.get("state"),
        "external_id": given.get("external_task_id"),
        "tag": given.get("tag"),
        "cut_off": operation.cut_off,
    }


def _position(row: Mapping[str, Any]) -> Position:
    at = row["available_at"].astimezone(UTC).isoformat()
    return {"account_id": row["account_id"], "available_at": at, "id": row["id"]}
