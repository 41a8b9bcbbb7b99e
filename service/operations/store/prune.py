"""Which worker prunes: one of them in each interval."""

from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection

# A start in the future was written by a wrong clock, and would delay pruning: it is ignored.
_START_IF_DUE = text("""
    UPDATE provider_state SET pruning_started_at = :now
    WHERE pruning_started_at IS NULL OR pruning_started_at <= :since
    OR pruning_started_at > :until
    RETURNING id
""")


async def start_if_due(tx: Connection, now: datetime, every: timedelta) -> bool:
    """Whether the caller is to prune: true for one caller in each interval `every`."""
    values = {"now": now, "since": now - every, "until": now + every}
    return await tx.first(_START_IF_DUE, values) is not None
