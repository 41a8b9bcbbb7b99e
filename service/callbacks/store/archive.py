"""SQL of stored callbacks: lists, one by its id or key, and those that may be verified again.

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

COUNTED = tuple(Verdict)[1:]  # those in ix_callbacks_verdict: all but `applied`
MAX_COUNTED = 10_000  # of each verdict; as many as are stored of rejected ones
Conditions = list[ColumnElement[bool]]
_VERDICT_IS = {
    verdict: callbacks.c.verdict == literal_column(f"'{verdict}'") for verdict in Verdict
}


@dataclass(frozen=True, slots=True)
class CallbackSummary:
    """A stored callback without its body and headers."""

    id: str  # "cbk_…"
    source: str  # the name of the source it came from
    verdict: Verdict  # what became of it
    reason: str | None  # why it is this verdict, in words; None: the verdict says it
    verification: Verification  # what proves where it comes from
    subject_id: str | None  # the subject it is about; None if that is not known
    task_id: str | None  # the provider's task; None if it was refused
    status: str | None  # the provider's word for the task's status; None if it was refused
    provider_updated_at: datetime | None  # the provider's time of that status
    times_received: int  # how many duplicates it stands for, itself included
    received_at: datetime  # when the first of them was received
    size: int  # bytes of the body


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """A stored callback, whole."""

    summary: CallbackSummary  # all but what follows
    dedup_key: str  # duplicates have the same, within a source
    token: str | None  # that of an address that is not ours; None: its address is ours, or has none
    headers: Mapping[str, str]  # by lower-case names; no secret is among them
    body: bytes  # as it was sent, or a part of it: see Callback.body
    erased: bool  # its body and headers were wiped, with what its subject held


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFilter:
    """What a list of callbacks is narrowed to; None narrows nothing."""

    verdict: Verdict | None = None  # what became of them
    subject_id: str | None = None  # the subject they are about
    source: str | None = None  # the name of the source they came from
    account_id: str | None = None  # the account of the subject they are about
    after: str | None = None  # id of the last row of the page before; None: the first page


_SUMMARY = [callbacks.c[field.name] for field in fields(CallbackSummary)]
_RECORDS = select(
    *_SUMMARY,
    callbacks.c.dedup_key,
    callbacks.c.token,
    callbacks.c.headers,
    callbacks.c.body,
    callbacks.c.erased_sha256.is_not(None),
)


async def get(tx: Connection, callback_id: str) -> CallbackRecord | None:
    """The callback of this id; None if there is none."""
    return _record(await tx.first(_RECORDS.where(callbacks.c.id == callback_id)))


async def by_dedup_key(tx: Connection, source: str, dedup_key: str) -> CallbackRecord | None:
    """The callback that is stored under this deduplication key; None if there is none."""
    statement = _RECORDS.where(callbacks.c.source == source, callbacks.c.dedup_key == dedup_key)
    return _record(await tx.first(statement))


async def page(
    tx: Connection, criteria: CallbackFilter, limit: int
) -> tuple[list[CallbackSummary], str | None]:
    """A page of callbacks, newest first, and the cursor of the next page; None at the end.

    At most MAX_ROWS_SCANNED rows are read, so a page may be short or empty without being the last.
    """
    conditions = _unindexed_conditions(criteria)
    most = MAX_ROWS_SCANNED if conditions else limit + 1
    candidates = _newest(criteria, conditions, most).subquery("candidates")
    number = func.row_number().over(order_by=candidates.c.id.desc()).label("read")
    numbered = select(candidates, number).subquery("numbered")
    fitting = select(numbered).where(or_(numbered.c.fits, numbered.c.read == most))
    rows = await tx.execute(fitting.order_by(numbered.c.read).limit(limit + 1))
    fit, last = bounded_scan.page_of(rows, limit, most)
    return [_summary(row) for row in fit], None if last is None else str(last["id"])


def _newest(criteria: CallbackFilter, conditions: Conditions, most: int) -> Select[Any]:
    """The newest `most` rows by the index that narrows them most, and whether each `fits`."""
    # Materialized, or Postgres would walk through all callbacks, newest first, in the hope of
    # meeting enough of one subject's.
    of_subject = (
        select(callbacks.c.id)
        .where(callbacks.c.subject_id == criteria.subject_id)
        .cte("of_subject")
        .prefix_with("MATERIALIZED")
    )
    newest = select(*_SUMMARY, and_(true(), *conditions).label("fits"))
    if criteria.subject_id is not None:
        newest = newest.where(callbacks.c.id.in_(select(of_subject.c.id)))
    elif criteria.verdict in COUNTED:
        newest = newest.where(_VERDICT_IS[criteria.verdict])
    if criteria.after is not None:
        newest = newest.where(callbacks.c.id < criteria.after)
    return newest.order_by(callbacks.c.id.desc()).limit(most)


def _unindexed_conditions(criteria: CallbackFilter) -> Conditions:
    """The conditions that are checked row by row: no index has `applied`, sources or accounts."""
    conditions: Conditions = []
    if criteria.verdict is not None and (criteria.subject_id or criteria.verdict not in COUNTED):
        conditions.append(_VERDICT_IS[criteria.verdict])
    if criteria.source is not None:
        conditions.append(callbacks.c.source == criteria.source)
    if criteria.account_id is not None:
        of_account = select(subjects.c.account_id).where(subjects.c.id == callbacks.c.subject_id)
        conditions.append(of_account.scalar_subquery() == criteria.account_id)
    return conditions


_COUNTS = text(
    " UNION ALL ".join(
        f"SELECT '{verdict}', count(*) FROM ("  # noqa: S608 - only our own words are put in
        f"SELECT 1 FROM callbacks WHERE verdict = '{verdict}' LIMIT {MAX_COUNTED}) c"
        for verdict in COUNTED
    )
)


async def counts(tx: Connection) -> dict[str, int]:
    """The number of stored callbacks by each verdict of COUNTED; MAX_COUNTED means that or more."""
    return {row[0]: row[1] for row in await tx.execute(_COUNTS)}


_REMOVE = text(
    "DELETE FROM callbacks WHERE id = :id AND verdict = :verdict RETURNING times_received"
)


async def remove(tx: Connection, callback_id: str, verdict: Verdict) -> int | None:
    """Delete a callback, and give its times_received; None, and nothing deleted, if it is gone or
    its verdict is another by now."""
    found = await tx.execute(_REMOVE, {"id": callback_id, "verdict": verdict.value})
    return next((times_received for (times_received,) in found), None)


async def set_reason(tx: Connection, callback_id: str, verdict: Verdict, reason: str) -> None:
    """Write why a callback has this verdict; nothing is written if it has another by now."""
    changed = callbacks.c.reason.is_distinct_from(reason)
    statement = update(callbacks).where(
        callbacks.c.id == callback_id, _VERDICT_IS[verdict], changed
    )
    await tx.execute(statement.values(reason=reason))


async def rejected_ids(tx: Connection, source: str, after_id: str, limit: int) -> list[str]:
    """The ids of a source's rejected callbacks, oldest first, that come after this id."""
    statement = (
        select(callbacks.c.id)
        .where(
            _VERDICT_IS[Verdict.REJECTED], callbacks.c.source == source, callbacks.c.id > after_id
        )
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]


# OFFSET 0 makes Postgres look up each task by the index, rather than read all unknown callbacks.
# One whose address named a subject that does not exist is left out: it never will.
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
    """The ids of `unknown` callbacks, received after `since`, whose task is now a subject's, in the
    order of the provider's time. The cost grows with the subjects that the provider has."""
    return [row[0] for row in await tx.execute(_NOW_MATCHING_IDS, {"since": since, "limit": limit})]


def _summary(row: Row) -> CallbackSummary:
    id_, source, verdict, reason, verification, *rest = row[: len(_SUMMARY)]
    return CallbackSummary(id_, source, Verdict(verdict), reason, Verification(verification), *rest)


def _record(row: Row | None) -> CallbackRecord | None:
    return None if row is None else CallbackRecord(_summary(row), *row[len(_SUMMARY) :])
