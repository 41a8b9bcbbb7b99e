"""Callbacks as they came: raw, once each, with what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, delete, literal_column, select
from sqlalchemy.dialects.postgresql import insert as upsert

from service.store.database import Transaction
from service.store.tables import callbacks


@dataclass(frozen=True, slots=True)
class Callback:
    """One message of the provider. `dedup_key` is what makes two copies the same message;
    `subject_id` is the subject its address names."""

    id: str
    source: str
    dedup_key: str
    subject_id: str | None
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime


# Built once: building a statement and finding it in the cache costs more than running it.
_KEEP = (
    upsert(callbacks)
    .on_conflict_do_update(
        index_elements=["source", "dedup_key"], set_={"seen": callbacks.c.seen + 1}
    )
    .returning(literal_column("(xmax = 0)", Boolean))  # true for a row just inserted
)


async def keep(
    tx: Transaction, callback: Callback, subject_id: str | None, verdict: str, reason: str | None
) -> bool:
    """Keep it with what it comes to; False if it was here before, and then it is counted.

    The unique key settles the race of copies that arrive at once: one inserts, the others wait
    for its commit and then count themselves.
    """
    values = {
        "id": callback.id,
        "source": callback.source,
        "dedup_key": callback.dedup_key,
        "subject_id": subject_id,
        "body": callback.body,
        "headers": dict(callback.headers),
        "verdict": verdict,
        "reason": reason,
        "received_at": callback.received_at,
    }
    return bool((await tx.execute(_KEEP, values)).scalar_one())


async def prune(tx: Transaction, before: datetime, limit: int) -> int:
    """Forget the oldest beyond the retention time, a small batch at a time; how many."""
    old = (
        select(callbacks.c.id)
        .where(callbacks.c.received_at < before)
        .order_by(callbacks.c.received_at)
        .limit(limit)
    )
    statement = delete(callbacks).where(callbacks.c.id.in_(old)).returning(callbacks.c.id)
    return len((await tx.execute(statement)).all())
