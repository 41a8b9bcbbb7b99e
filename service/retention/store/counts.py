"""How much of each kind is old enough to be pruned; nothing is locked or changed."""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.ids import first_id
from service.retention.domain.kinds import Kind

_COUNTS: Final = {
    Kind.CALLBACKS: text("SELECT count(*) FROM callbacks WHERE id < :first"),
    Kind.ANSWERS: text("""
        SELECT count(*) FROM attempts WHERE response_body <> '' AND started_at < :before
    """),
    Kind.ACTIONS: text("SELECT count(*) FROM actions WHERE id < :first"),
    Kind.OPERATIONS: text("""
        SELECT count(*) FROM operations WHERE id < :first AND state <> 'running'
    """),
    Kind.SNAPSHOT: text("SELECT count(*) FROM stage_snapshots WHERE minute < :before"),
    Kind.KEYS: text("SELECT count(*) FROM idempotency_keys WHERE created_at <= :before"),
    Kind.SIGNING_KEYS: text("""
        SELECT count(*) FROM previous_signing_keys WHERE expires_at <= :before
    """),
    Kind.HOLDS: text("SELECT count(*) FROM holds WHERE until <= :before"),
    Kind.MEDIA: text("""
        SELECT count(*) FROM media m WHERE created_at < :before AND NOT EXISTS (
            SELECT FROM subject_media l WHERE l.hash = m.hash
            AND (SELECT finished_at FROM subjects WHERE id = l.subject_id) IS NULL
        )
    """),
}
_PREFIXES: Final = {Kind.CALLBACKS: "cbk", Kind.ACTIONS: "act", Kind.OPERATIONS: "opr"}


async def count(tx: Connection, kind: Kind, before: datetime) -> int:
    """How many of a kind are from before a time, and would be pruned."""
    if kind in _PREFIXES:  # their ids have the time in them
        values = {"first": first_id(_PREFIXES[kind], before.timestamp())}
        return int(await tx.scalar(_COUNTS[kind], values))
    return int(await tx.scalar(_COUNTS[kind], {"before": before}))
