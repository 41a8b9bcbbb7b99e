"""Subjects whose lease has expired, or whose deadline has passed."""

from datetime import datetime

from sqlalchemy import select, text

from service.kit.database.connection import Connection
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import RANK, TERMINAL, State

UNFINISHED = sorted(RANK.keys() - TERMINAL)


async def expired_leases(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Ids of claimed subjects whose lease has expired, the longest expired first: their worker died
    or was stopped."""
    statement = (
        select(subjects.c.id)
        .where(text(f"state = '{State.SUBMITTING}'"), subjects.c.lease_until <= now)
        .order_by(subjects.c.lease_until)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]


_UNFINISHED = """
    SELECT id, deadline FROM subjects
    WHERE finished_at IS NULL AND media_check_at {is_null}
    AND state = unfinished.state AND deadline <= :now
    ORDER BY deadline LIMIT :limit
"""
# The earliest of each state and index come first, so as to read no more than these.
_PAST_DEADLINE = text(f"""
    SELECT q.id FROM unnest(CAST(:states AS text[])) AS unfinished (state) CROSS JOIN LATERAL (
        ({_UNFINISHED.format(is_null="IS NULL")})
        UNION ALL
        ({_UNFINISHED.format(is_null="IS NOT NULL")})
    ) q
    ORDER BY q.deadline LIMIT :limit
""")  # noqa: S608 - only our own words are put in


async def past_deadline(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Ids of unfinished subjects whose deadline has passed, the earliest deadline first."""
    values = {"now": now, "limit": limit, "states": UNFINISHED}
    return [row[0] for row in await tx.execute(_PAST_DEADLINE, values)]
