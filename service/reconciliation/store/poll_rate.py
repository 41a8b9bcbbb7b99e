"""What all workers must know of the provider: whether it is stopped, its parallel limit, how often
it is asked, and how long its tasks take."""

from datetime import datetime

from sqlalchemy import bindparam, func, literal_column, select, update

from service.kit.database.connection import Connection
from service.schema.provider import provider_state
from service.schema.subjects import subjects

_LOOK_UPS = select(
    select(func.count())
    .select_from(
        select(literal_column("1"))
        .select_from(subjects)
        .where(subjects.c.next_poll_at <= bindparam("now"))
        .limit(bindparam("limit"))
        .subquery()
    )
    .scalar_subquery(),
    provider_state.c.poll_rate_used_until,
)
_LOCK_LOOK_UPS = select(provider_state.c.poll_rate_used_until).with_for_update()


async def due_polls(tx: Connection, now: datetime, limit: int) -> tuple[int, datetime | None]:
    """How many subjects are due to be asked for, counted up to `limit`; and until when the
    look-ups made so far use up the permitted rate."""
    due, until = await tx.first(_LOOK_UPS, {"now": now, "limit": limit})
    return due, until


async def lock_poll_rate(tx: Connection) -> datetime | None:
    """The same moment, which nobody else reads for spending until this transaction ends."""
    until: datetime | None = await tx.scalar(_LOCK_LOOK_UPS)
    return until


async def spend_poll_rate(tx: Connection, until: datetime) -> None:
    await tx.execute(update(provider_state).values(poll_rate_used_until=until))
