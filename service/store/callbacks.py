"""Callbacks as they came: raw, once each, with what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import delete, select, text

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


@dataclass(frozen=True, slots=True)
class Kept:
    """A callback with what it came to; `seen` counts the copies that came together."""

    callback: Callback
    subject_id: str | None
    verdict: str
    reason: str | None
    seen: int = 1


_KNOWN = text("""
    SELECT dedup_key FROM callbacks
    WHERE source = :source AND dedup_key = ANY (CAST(:keys AS text[]))
""")
_KEEP = text("""
    INSERT INTO callbacks
        (id, source, dedup_key, subject_id, body, headers, verdict, reason, received_at, seen)
    SELECT * FROM unnest(
        CAST(:ids AS text[]), CAST(:sources AS text[]), CAST(:keys AS text[]),
        CAST(:subject_ids AS text[]), CAST(:bodies AS bytea[]), CAST(:headers AS jsonb[]),
        CAST(:verdicts AS text[]), CAST(:reasons AS text[]), CAST(:times AS timestamptz[]),
        CAST(:seen AS int[])
    ) AS k
    ON CONFLICT (source, dedup_key) DO UPDATE SET seen = callbacks.seen + excluded.seen
""")


async def known(tx: Transaction, source: str, keys: Sequence[str]) -> frozenset[str]:
    """Which of these were kept before. Callers hold the locks of the subjects concerned, so a
    copy that is being kept elsewhere is committed by now."""
    found = await tx.execute(_KNOWN, {"source": source, "keys": keys})
    return frozenset(found.scalars())


async def keep(tx: Transaction, kept: Sequence[Kept]) -> None:
    """Keep callbacks of different keys; one that was here before is counted instead.

    The unique key settles the race of copies that name no subject and arrive at once.
    """
    values = {
        "ids": [one.callback.id for one in kept],
        "sources": [one.callback.source for one in kept],
        "keys": [one.callback.dedup_key for one in kept],
        "subject_ids": [one.subject_id for one in kept],
        "bodies": [one.callback.body for one in kept],
        "headers": [orjson.dumps(one.callback.headers).decode() for one in kept],
        "verdicts": [one.verdict for one in kept],
        "reasons": [one.reason for one in kept],
        "times": [one.callback.received_at for one in kept],
        "seen": [one.seen for one in kept],
    }
    await tx.execute(_KEEP, values)


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
