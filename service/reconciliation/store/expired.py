"""Subjects whose lease has expired, or whose deadline has passed."""

from datetime import datetime

from sqlalchemy import select, text

from service.kit.database.connection import Connection
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import State


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


async def past_deadline(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Ids of unfinished subjects whose deadline has passed, the earliest deadline first."""
    statement = (
        select(subjects.c.id)
        .where(subjects.c.finished_at.is_(None), subjects.c.deadline <= now)
        .order_by(subjects.c.deadline)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]
