"""How many answers of the provider's in a row nobody could read, for all processes to know."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from service.kit.database.connection import Connection
from service.schema.provider import provider_state


@dataclass(frozen=True, slots=True)
class UnreadableAnswers:
    """So many since the last one that could be read; when the first and the newest came."""

    count: int
    first_at: datetime
    last_at: datetime


_COUNT = provider_state.c.unreadable_answers
_SINCE = provider_state.c.unreadable_since
_AT = provider_state.c.last_unreadable_at


async def increment(tx: Connection, now: datetime) -> None:
    """Count an answer that came at `now` and that nobody could read."""
    since = func.coalesce(_SINCE, now)
    values = {_COUNT: _COUNT + 1, _SINCE: since, _AT: now}
    await tx.execute(update(provider_state).values(values))


async def reset(tx: Connection) -> None:
    """Begin to count anew, as an answer of the provider's could be read."""
    values = {_COUNT: 0, _SINCE: None, _AT: None}
    await tx.execute(update(provider_state).where(_COUNT > 0).values(values))


async def read_count(tx: Connection) -> UnreadableAnswers | None:
    """What is counted; None where the last answer could be read."""
    found = await tx.first(select(_COUNT, _SINCE, _AT).where(_COUNT > 0))
    return None if found is None else UnreadableAnswers(*found)
