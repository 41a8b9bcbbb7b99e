"""Answers of subscribers: emptied, while their attempts stay."""

from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection

# Nobody else changes an attempt but who erases a subject: those are passed over.
_EMPTY = text("""
    WITH emptied AS (
        UPDATE attempts SET response_body = '' WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM attempts
            WHERE response_body <> '' AND started_at < :before
            ORDER BY started_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM emptied
""")


async def empty(tx: Connection, before: datetime, limit: int) -> int:
    """Empty the oldest `limit` answers at most, of attempts that began before a time; how many."""
    return int(await tx.scalar(_EMPTY, {"before": before, "limit": limit}))
