"""Which worker does the housekeeping: one of them in each interval."""

from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection

# A start in the future was written by a wrong clock, and would delay housekeeping: it is ignored.
_BEGIN_HOUSEKEEPING = text("""
    UPDATE provider_state SET housekeeping_started_at = :now
    WHERE housekeeping_started_at IS NULL OR housekeeping_started_at <= :since
    OR housekeeping_started_at > :until
    RETURNING id
""")


async def begin_housekeeping(tx: Connection, now: datetime, every: timedelta) -> bool:
    """Whether the caller is to do it: true for one caller in each interval `every`."""
    values = {"now": now, "since": now - every, "until": now + every}
    return await tx.first(_BEGIN_HOUSEKEEPING, values) is not None
