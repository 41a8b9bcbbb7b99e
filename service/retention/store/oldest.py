"""The oldest of each kind that is pruned by its age: read by an index, one entry each."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.retention.domain.kinds import OUTCOMES, Kind

# What a walk has passed over is left out: it is to be kept for now, and says nothing of whether
# pruning keeps up.
_WALKED = {
    Kind.SUBSCRIBER_EVENTS: ("events", "created_at", "subject_id IS NULL"),
} | {
    kind: ("subjects", "finished_at", f"state = '{state}' AND finished_at IS NOT NULL")
    for state, kind in OUTCOMES.items()
}
_AGED = {
    Kind.CALLBACKS: "SELECT received_at FROM callbacks WHERE id > '' ORDER BY id LIMIT 1",
    Kind.ANSWERS: """
        SELECT started_at FROM attempts WHERE response_body <> '' AND started_at > '-infinity'
        ORDER BY started_at LIMIT 1""",
    Kind.ACTIONS: "SELECT at FROM actions WHERE id > '' ORDER BY id LIMIT 1",
    Kind.OPERATIONS: "SELECT created_at FROM operations WHERE id > '' ORDER BY id LIMIT 1",
    Kind.SNAPSHOT: "SELECT min(minute) FROM stage_snapshots",
}


def _walked(kind: Kind, table: str, column: str, condition: str) -> str:
    return f"""
        SELECT o.{column} FROM (
            SELECT coalesce(max(after_at), '-infinity') AS at, coalesce(max(after_id), '') AS id
            FROM pruning_walks WHERE kind = '{kind}'
        ) walk CROSS JOIN LATERAL (
            SELECT {column} FROM {table}
            WHERE {condition} AND ({column}, id) > (walk.at, walk.id) ORDER BY {column}, id LIMIT 1
        ) o"""  # noqa: S608 - our own words


_EACH = {kind: _walked(kind, *table) for kind, table in _WALKED.items()} | _AGED
_OLDEST = text("SELECT " + ", ".join(f"({query})" for query in _EACH.values()))


async def read(tx: Connection) -> Mapping[str, datetime]:
    """When the oldest of each Kind ended, came or was written; kinds of which there is none are
    left out."""
    row = await tx.first(_OLDEST)
    return {kind.value: at for kind, at in zip(_EACH, row, strict=True) if at is not None}
