"""What all workers must know of the provider: whether it is stopped, its parallel limit, how often
it is asked, and how long its tasks take."""

from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection

# A moment of a clock that was ahead is not believed: it would put housekeeping off for as long.
_BEGIN_HOUSEKEEPING = text("""
    UPDATE provider_state SET housekeeping_started_at = :now
    WHERE housekeeping_started_at IS NULL OR housekeeping_started_at <= :since
    OR housekeeping_started_at > :until
    RETURNING id
""")


async def begin_housekeeping(tx: Connection, now: datetime, every: timedelta) -> bool:
    """Whether it is the caller's to do: once in so long a time, of all who ask one is told so."""
    values = {"now": now, "since": now - every, "until": now + every}
    return await tx.first(_BEGIN_HOUSEKEEPING, values) is not None
