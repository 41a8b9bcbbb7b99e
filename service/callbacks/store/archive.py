"""The archive of callbacks that were stored: listed, read, and taken out to be verified again.

A verdict stands in these statements as it is, never as a parameter: with one, the generic plan
could not use the partial index.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)

from service.callbacks.domain.callback import Verification
from service.callbacks.domain.verdicts import Verdict
from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED
from service.kit.database.connection import Connection, Row
from service.schema.base import one_of
from service.schema.callbacks import callbacks
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import WITH_PROVIDER

COUNTED = tuple(Verdict)[1:]  # of these there is an index: nobody looks for what went well
MAX_COUNTED = 10_000  # of each verdict; as many as are kept of what was rejected
Conditions = list[ColumnElement[bool]]
_VERDICT_IS = {
    verdict: callbacks.c.verdict == literal_column(f"'{verdict}'") for verdict in Verdict
}


@dataclass(frozen=True, slots=True)
class CallbackSummary:
    """A stored callback without its bytes."""

    id: str
    source: str
    verdict: Verdict
    reason: str | None  # why it is this verdict; None: the verdict says it
    verification: Verification  # what vouches for it
    subject_id: str | None  # the subject it is about; None if that is not known
    task_id: str | None  # what it says, if it could be read: the provider's task, …
    status: str | None  # … the provider's word for how that is, …
    provider_updated_at: datetime | None  # … and the provider's time of it
    times_received: int  # copies of it that came
    received_at: datetime  # when the first of them did
    size: int  # bytes of the body


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """A stored callback, whole."""

    summary: CallbackSummary
    dedup_key: str  # copies of a message have the same, within a source
    token: str | None  # of its address, where that was rejected; else None
    headers: Mapping[str, str]  # no secret is among them
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFilter:
    """What a list is narrowed to; None narrows nothing."""

    verdict: Verdict | None = None
    subject_id: str | None = None
    source: str | None = None
    account_id: str | None = None
    below: str | None = None  # the last id seen: the list goes on behind it


_SUMMARY = [callbacks.c[field.name] for field in fields(CallbackSummary)]
_RECORDS = select(
    *_SUMMARY, callbacks.c.dedup_key, callbacks.c.token, callbacks.c.headers, callbacks.c.body
)


async def get(tx: Connection, callback_id: str) -> CallbackRecord | None:
    """The callback of this id, whole; None if there is none."""
    return _record(await tx.first(_RECORDS.where(callbacks.c.id == callback_id)))


async def by_dedup_key(tx: Connection, source: str, key: str) -> CallbackRecord | None:
    """The callback that is stored under this key of a source; None if there is none."""
    statement = _RECORDS.where(callbacks.c.source == source, callbacks.c.dedup_key == key)
    return _record(await tx.first(statement))


async def page(
    tx: Connection, wanted: CallbackFilter, limit: int
) -> tuple[list[CallbackSummary], str | None]:
    """The newest first, and the id that the next page begins below; None at the end.

    Only MOST_READ are looked through, so a page may be short, or empty, and not the last.
    """
    filters = _filters(wanted)
    most = MAX_ROWS_SCANNED if filters else limit + 1
    pool = _newest(wanted, filters, most).subquery("pool")
    number = func.row_number().over(order_by=pool.c.id.desc()).label("read")
    read = select(pool, number).subquery("read")
    fitting = select(read).where(or_(read.c.fits, read.c.read == most))
    rows = await tx.execute(fitting.order_by(read.c.read).limit(limit + 1))
    fit, last = bounded_scan.page_of(rows, limit, most)
    return [_summary(row) for row in fit], None if last is None else str(last["id"])


def _newest(wanted: CallbackFilter, filters: Conditions, most: int) -> Select[Any]:
    """The next so many by the index that leads to the most of what is wanted, and whether each
    fits."""
    # Materialized, or Postgres would walk through all callbacks, newest first, in the hope of
    # meeting enough of one subject's.
    of_subject = (
        select(callbacks.c.id)
        .where(callbacks.c.subject_id == wanted.subject_id)
        .cte("of_subject")
        .prefix_with("MATERIALIZED")
    )
    found = select(*_SUMMARY, and_(true(), *filters).label("fits"))
    if wanted.subject_id is not None:
        found = found.where(callbacks.c.id.in_(select(of_subject.c.id)))
    elif wanted.verdict in COUNTED:
        found = found.where(_VERDICT_IS[wanted.verdict])
    if wanted.below is not None:
        found = found.where(callbacks.c.id < wanted.below)
    return found.order_by(callbacks.c.id.desc()).limit(most)


def _filters(wanted: CallbackFilter) -> Conditions:
    """What is looked for row by row: there is no index of what went well, nor of sources."""
    conditions: Conditions = []
    if wanted.verdict is not None and (wanted.subject_id or wanted.verdict not in COUNTED):
        conditions.append(_VERDICT_IS[wanted.verdict])
    if wanted.source is not None:
        conditions.append(callbacks.c.source == wanted.source)
    if wanted.account_id is not None:
        of_account = select(subjects.c.account_id).where(subjects.c.id == callbacks.c.subject_id)
        conditions.append(of_account.scalar_subquery() == wanted.account_id)
    return conditions


_COUNTS = text(
    " UNION ALL ".join(
        f"SELECT '{verdict}', count(*) FROM ("  # noqa: S608 - only our own words are put in
        f"SELECT 1 FROM callbacks WHERE verdict = '{verdict}' LIMIT {MAX_COUNTED}) c"
        for verdict in COUNTED
    )
)


async def counts(tx: Connection) -> dict[str, int]:
    """How many are stored of each verdict of COUNTED; MAX_COUNTED stands for that many or more."""
    return {row[0]: row[1] for row in await tx.execute(_COUNTS)}


_REMOVE = text(
    "DELETE FROM callbacks WHERE id = :id AND verdict = :verdict RETURNING times_received"
)


async def remove(tx: Connection, callback_id: str, verdict: Verdict) -> int | None:
    """How many copies of it came; None, and nothing removed, if its verdict is another by now."""
    found = await tx.execute(_REMOVE, {"id": callback_id, "verdict": verdict.value})
    return next((seen for (seen,) in found), None)


async def set_reason(tx: Connection, callback_id: str, verdict: Verdict, reason: str) -> None:
    """Note why a callback still has this verdict; nothing, if it has another by now."""
    still = (
        callbacks.c.id == callback_id,
        _VERDICT_IS[verdict],
        callbacks.c.reason.is_distinct_from(reason),
    )
    await tx.execute(update(callbacks).where(*still).values(reason=reason))


async def rejected_ids(tx: Connection, source: str, above: str, limit: int) -> list[str]:
    """The ids of what was rejected from a source, oldest first, after the last id seen."""
    statement = (
        select(callbacks.c.id)
        .where(_VERDICT_IS[Verdict.REJECTED], callbacks.c.source == source, callbacks.c.id > above)
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]


# OFFSET 0 has each task looked for by itself, rather than all that nobody knew gone through. One
# whose address named a subject that is none will not have it appear.
_NOW_MATCHING_IDS = text(f"""
    WITH tasks AS MATERIALIZED (
        SELECT provider_task_id FROM subjects
        WHERE state IN ({one_of(WITH_PROVIDER)}) AND provider_task_id IS NOT NULL
    )
    SELECT c.id FROM tasks CROSS JOIN LATERAL (
        SELECT id, provider_updated_at FROM callbacks
        WHERE task_id = tasks.provider_task_id AND verdict = 'unknown' AND subject_id IS NULL
        AND received_at > :since OFFSET 0
    ) AS c
    ORDER BY c.provider_updated_at NULLS FIRST, c.id LIMIT :limit
""")  # noqa: S608 - only our own words are put in


async def now_matching_ids(tx: Connection, since: datetime, limit: int) -> list[str]:
    """The ids of callbacks that told of nothing we knew, and whose subject has appeared since, in
    the order of the provider's time. The cost follows the number of subjects with the provider."""
    return [row[0] for row in await tx.execute(_NOW_MATCHING_IDS, {"since": since, "limit": limit})]


def _summary(row: Row) -> CallbackSummary:
    id_, source, verdict, reason, verification, *rest = row[: len(_SUMMARY)]
    return CallbackSummary(id_, source, Verdict(verdict), reason, Verification(verification), *rest)


def _record(row: Row | None) -> CallbackRecord | None:
    return None if row is None else CallbackRecord(_summary(row), *row[len(_SUMMARY) :])
