"""Callbacks that were kept: listed, looked at, and taken out to be judged again.

A verdict stands in these statements as it is, never as a parameter: with one, the generic plan
could not use the partial index.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, select, text, update

from service.core.lifecycle import WITH_PROVIDER
from service.store.database import Direct, Transaction
from service.store.tables import callbacks, one_of

VERDICTS = (
    *("applied", "repeated", "late", "anomaly", "unknown"),
    *("mismatch", "parked", "hint", "rejected"),
)
COUNTED = VERDICTS[1:]  # nobody looks for what went well


@dataclass(frozen=True, slots=True)
class Summary:
    """A kept callback without its bytes. `trust` is None for rows older than that column; `size`
    counts the bytes of the body."""

    id: str
    source: str
    verdict: str
    reason: str | None
    trust: str | None
    subject_id: str | None
    task_id: str | None
    status: str | None
    task_time: datetime | None
    seen: int
    received_at: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """A callback as it is kept, whole."""

    summary: Summary
    dedup_key: str
    token: str | None
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is narrowed to; `below` is the last id seen."""

    verdict: str | None = None
    subject_id: str | None = None
    source: str | None = None
    below: str | None = None


_SUMMARY = (
    *(callbacks.c[field.name] for field in fields(Summary)[:-1]),
    func.coalesce(callbacks.c.size, func.octet_length(callbacks.c.body)),  # older rows do not say
)
_FOUND = select(
    *_SUMMARY, callbacks.c.dedup_key, callbacks.c.token, callbacks.c.headers, callbacks.c.body
)


async def get(tx: Transaction, callback_id: str) -> Found | None:
    return _found((await tx.execute(_FOUND.where(callbacks.c.id == callback_id))).first())


async def by_key(tx: Transaction, source: str, key: str) -> Found | None:
    """The one that is kept under this key."""
    statement = _FOUND.where(callbacks.c.source == source, callbacks.c.dedup_key == key)
    return _found((await tx.execute(statement)).first())


async def page(tx: Transaction, wanted: Wanted, limit: int) -> list[Summary]:
    """The newest first."""
    # Materialized, or Postgres would walk through all callbacks, newest first, in the hope of
    # meeting enough of one subject's.
    of_subject = (
        select(callbacks.c.id)
        .where(callbacks.c.subject_id == wanted.subject_id)
        .cte("of_subject")
        .prefix_with("MATERIALIZED")
    )
    statement = select(*_SUMMARY).order_by(callbacks.c.id.desc()).limit(limit)
    if wanted.verdict is not None:
        statement = statement.where(_is(wanted.verdict))
    if wanted.subject_id is not None:
        statement = statement.where(callbacks.c.id.in_(select(of_subject.c.id)))
    if wanted.source is not None:
        statement = statement.where(callbacks.c.source == wanted.source)
    if wanted.below is not None:
        statement = statement.where(callbacks.c.id < wanted.below)
    return [_summary(row) for row in await tx.execute(statement)]


_COUNTS = text("SELECT verdict, count(*) FROM callbacks WHERE verdict <> 'applied' GROUP BY 1")


async def counts(tx: Transaction) -> dict[str, int]:
    """How many are kept of each verdict of COUNTED."""
    found = {row[0]: row[1] for row in await tx.execute(_COUNTS)}
    return {verdict: found.get(verdict, 0) for verdict in COUNTED}


_REMOVE = text("DELETE FROM callbacks WHERE id = :id AND verdict = :verdict RETURNING seen")


async def remove(tx: Transaction | Direct, callback_id: str, verdict: str) -> int | None:
    """How often it was seen; None, and nothing is removed, if somebody else judged it meanwhile."""
    found = await tx.execute(_REMOVE, {"id": callback_id, "verdict": verdict})
    return next((seen for (seen,) in found), None)


async def explain(tx: Transaction, callback_id: str, verdict: str, reason: str) -> None:
    """Note why it still has this verdict."""
    still = callbacks.c.id == callback_id, _is(verdict), callbacks.c.reason.is_distinct_from(reason)
    await tx.execute(update(callbacks).where(*still).values(reason=reason))


async def rejected_of(tx: Transaction, source: str, above: str, limit: int) -> list[str]:
    """The ids of what was rejected from a source, oldest first, after the last id seen."""
    statement = (
        select(callbacks.c.id)
        .where(_is("rejected"), callbacks.c.source == source, callbacks.c.id > above)
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    return list((await tx.execute(statement)).scalars())


# OFFSET 0 has each task looked for by itself, rather than all that nobody knew gone through. One
# whose address named a subject that is none will not have it appear.
_APPEARED = text(f"""
    WITH tasks AS MATERIALIZED (
        SELECT provider_task_id FROM subjects
        WHERE state IN ({one_of(WITH_PROVIDER)}) AND provider_task_id IS NOT NULL
    )
    SELECT c.id FROM tasks CROSS JOIN LATERAL (
        SELECT id, task_time FROM callbacks
        WHERE task_id = tasks.provider_task_id AND verdict = 'unknown' AND subject_id IS NULL
        AND received_at > :since OFFSET 0
    ) AS c
    ORDER BY c.task_time NULLS FIRST, c.id LIMIT :limit
""")  # noqa: S608 - only our own words are put in


async def appeared(tx: Transaction, since: datetime, limit: int) -> list[str]:
    """The ids of callbacks that told of nothing we knew, and whose subject has appeared since, in
    the order of the provider's time. The cost follows the number of subjects with the provider."""
    found = await tx.execute(_APPEARED, {"since": since, "limit": limit})
    return list(found.scalars())


def _is(verdict: str) -> ColumnElement[bool]:
    return callbacks.c.verdict == bindparam("verdict", verdict, literal_execute=True)


def _summary(row: Row[*tuple[Any, ...]]) -> Summary:
    return Summary(*row[: len(_SUMMARY)])


def _found(row: Row[*tuple[Any, ...]] | None) -> Found | None:
    return None if row is None else Found(_summary(row), *row[len(_SUMMARY) :])
