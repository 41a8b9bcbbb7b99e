"""Subjects whose lease has expired, or whose deadline has passed."""

from datetime import datetime

from sqlalchemy import text

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.subjects.domain.lifecycle import RANK, TERMINAL, State

UNFINISHED = sorted(RANK.keys() - TERMINAL)


_EXPIRED_LEASES = text(f"""
    SELECT id FROM subjects
    WHERE state = '{State.SUBMITTING}' AND lease_until <= :now AND {AT_HOME}
    ORDER BY lease_until LIMIT :limit
""")  # noqa: S608 - only our own words are put in
_UNFINISHED = """
    SELECT id, deadline FROM subjects
    WHERE finished_at IS NULL AND media_check_at {is_null}
    AND state = unfinished.state AND deadline <= :now AND {at_home}
    ORDER BY deadline LIMIT :limit
"""
# The earliest of each state and index come first, so as to read no more than these.
_PAST_DEADLINE = text(f"""
    SELECT q.id FROM unnest(CAST(:states AS text[])) AS unfinished (state) CROSS JOIN LATERAL (
        ({_UNFINISHED.format(is_null="IS NULL", at_home=AT_HOME)})
        UNION ALL
        ({_UNFINISHED.format(is_null="IS NOT NULL", at_home=AT_HOME)})
    ) q
    ORDER BY q.deadline LIMIT :limit
""")  # noqa: S608 - only our own words are put in


async def expired_leases(tx: Connection, fence: Fence, now: datetime, limit: int) -> list[str]:
    """Ids of claimed subjects whose lease has expired, the longest expired first: their worker died
    or was stopped. None outside the fence."""
    values = {"now": now, "limit": limit, **fence.values()}
    return [row[0] for row in await tx.execute(_EXPIRED_LEASES, values)]


async def past_deadline(tx: Connection, fence: Fence, now: datetime, limit: int) -> list[str]:
    """Ids of unfinished subjects whose deadline has passed, the earliest deadline first; none
    outside the fence."""
    values = {"now": now, "limit": limit, "states": UNFINISHED, **fence.values()}
    return [row[0] for row in await tx.execute(_PAST_DEADLINE, values)]
