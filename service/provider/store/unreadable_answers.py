"""The count of the provider's answers in a row that could not be read, shared by all workers."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from service.kit.database.connection import Connection
from service.schema.provider import provider_state


@dataclass(frozen=True, slots=True)
class UnreadableAnswers:
    """The answers since the last one that could be read."""

    count: int  # at least 1
    first_at: datetime  # when the first of them came
    last_at: datetime  # when the newest came


_COUNT = provider_state.c.unreadable_answers
_FIRST_AT = provider_state.c.unreadable_since
_LAST_AT = provider_state.c.last_unreadable_at


async def increment(tx: Connection, now: datetime) -> None:
    """Count an answer that came at `now` and could not be read."""
    first_at = func.coalesce(_FIRST_AT, now)
    values = {_COUNT: _COUNT + 1, _FIRST_AT: first_at, _LAST_AT: now}
    await tx.execute(update(provider_state).values(values))


async def reset(tx: Connection) -> None:
    """Set the count to 0, as an answer could be read."""
    values = {_COUNT: 0, _FIRST_AT: None, _LAST_AT: None}
    await tx.execute(update(provider_state).where(_COUNT > 0).values(values))


async def read_count(tx: Connection) -> UnreadableAnswers | None:
    """Read the count; None while it is 0."""
    row = await tx.first(select(_COUNT, _FIRST_AT, _LAST_AT).where(_COUNT > 0))
    return None if row is None else UnreadableAnswers(*row)
