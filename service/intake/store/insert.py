"""New subjects are written in batches, with all that stands and falls with them; and the queued
subjects of accounts are counted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import text

from service.intake.store.idempotency import AccountAndKey, Binding
from service.kit.database.connection import Connection
from service.kit.database.guards import guarded
from service.kit.database.json_rows import columns_of, encode_rows, from_rows
from service.kit.timestamps import EPOCH
from service.operations.domain.hold import HeldAccount, HoldTarget
from service.operations.store.holds import held_sql
from service.subjects.domain.subject import Subject
from service.subjects.domain.work import Work
from service.subjects.store.events import NOTIFIED, NewEvent, event_values, write_events


class NewSubject(Struct, frozen=True):
    """A subject to be written."""

    subject: Subject  # as it was accepted
    media_due: bool = False  # whether its media are fetched and checked before submission
    traceparent: str | None = None  # of the span that accepted it; None: it is not traced


class _Row(Struct, omit_defaults=True):
    """A new subject as it is written."""

    id: str
    account_id: str
    fingerprint: str
    document: Mapping[str, Any]
    tags: Sequence[str]
    state: str
    version: int
    available_at: datetime
    deadline: datetime
    created_at: datetime
    updated_at: datetime
    external_task_id: str | None = None
    callback_subscriber_id: str | None = None
    media_check_at: datetime | None = None
    warnings: Sequence[Mapping[str, str]] | None = None
    traceparent: str | None = None


class _BindingRow(Struct):
    """An idempotency key as it is bound."""

    account_id: str
    key: str
    fingerprint: str
    subject_id: str
    created_at: datetime


_COLUMNS = columns_of(_Row) | {"warnings": "jsonb"}
_BINDING_COLUMNS = columns_of(_BindingRow)
# Holds of other accounts are left alone: all that is accepted would lock their rows.
_OF_THESE = """
    account_id = ANY (CAST(:account_ids AS text[]))
    OR account_id IS NULL AND cardinality(CAST(:account_ids AS text[])) > 0
"""
_TAKEN = "NOT EXISTS (SELECT FROM refusing)"  # no hold keeps any of these subjects out
# Each table in an order of its own, and the tables in that of the last line, subjects last: so two
# batches that want the same keys and external ids never wait for each other.
_WRITE = text(f"""
    WITH refusing AS ({held_sql(HoldTarget.INTAKE, _OF_THESE)}), {write_events(_TAKEN)}, added AS (
        INSERT INTO subjects ({", ".join(_COLUMNS)})
        SELECT {", ".join(_COLUMNS)} FROM {from_rows("new_subjects", _COLUMNS)}
        WHERE {_TAKEN}
        ORDER BY account_id, external_task_id
    ), bound AS (
        INSERT INTO idempotency_keys ({", ".join(_BINDING_COLUMNS)})
        SELECT {", ".join(_BINDING_COLUMNS)} FROM {from_rows("bindings", _BINDING_COLUMNS)}
        WHERE {_TAKEN}
        ORDER BY account_id, key
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM bound), {NOTIFIED}, refusing.id, account_id, until
    FROM (VALUES (1)) AS one LEFT JOIN refusing ON true
""")  # noqa: S608 - only our own column names are put in
_COUNT_QUEUED = text("""
    SELECT account_id, (
        SELECT count(*) FROM (
            SELECT 1 FROM subjects s
            WHERE s.state = 'queued' AND s.account_id = given.account_id LIMIT :most
        ) AS counted
    )
    FROM unnest(CAST(:accounts AS text[])) AS given (account_id)
""")
_LOCK_QUEUES = text("""
    SELECT pg_advisory_xact_lock(key) FROM (
        SELECT hashtextextended('queue ' || account_id, 0) AS key
        FROM unnest(CAST(:accounts AS text[])) AS given (account_id) ORDER BY key
    ) AS keys
""")
NO_BINDINGS: Final = MappingProxyType[AccountAndKey, Binding]({})


async def add_subjects(
    tx: Connection,
    new: Sequence[NewSubject],
    events: Sequence[NewEvent] = (),
    *,
    bindings: Mapping[AccountAndKey, Binding] = NO_BINDINGS,
) -> list[HeldAccount]:
    """Write new subjects, their events with the deliveries of these, and bind idempotency keys: all
    in one statement, which notifies the workers. Nothing is written if the intake of an account of
    theirs was held when they were made: then those holds are returned.

    The unique keys decide the race of requests that arrive at once: they wait for the other's
    commit. GuardFailed if there is a subject of an external id, or a key is bound: then nothing is
    written, and the other's subject can be read.
    """
    work = {Work.CHECK_MEDIA if subject.media_due else Work.SUBMIT for subject in new}
    values = {
        "new_subjects": encode_rows([_row(subject) for subject in new]),
        "account_ids": list({created.subject.account_id for created in new}),
        "now": max((created.subject.created_at for created in new), default=EPOCH),
        "bindings": encode_rows(
            [
                _BindingRow(*name, binding.fingerprint, binding.subject_id, binding.created_at)
                for name, binding in bindings.items()
            ]
        ),
    }
    with guarded():
        rows = await tx.execute(_WRITE, values | event_values(events, work))
    return [HeldAccount(*row[3:]) for row in rows if row[2] is not None]


def _row(new: NewSubject) -> _Row:
    subject = new.subject
    return _Row(
        id=subject.id,
        account_id=subject.account_id,
        external_task_id=subject.external_task_id,
        fingerprint=subject.fingerprint,
        document=subject.document,
        tags=subject.tags,
        state=subject.state,
        version=subject.version,
        available_at=subject.available_at,
        deadline=subject.deadline,
        callback_subscriber_id=subject.callback_subscriber_id,
        media_check_at=subject.created_at if new.media_due else None,
        warnings=subject.warnings,
        traceparent=new.traceparent,
        created_at=subject.created_at,
        updated_at=subject.updated_at,
    )


async def count_queued(tx: Connection, account_ids: Sequence[str], most: int) -> dict[str, int]:
    """How many subjects of each account are queued, counted up to `most`; an advisory lock keeps
    others from counting them until this transaction ends."""
    await tx.execute(_LOCK_QUEUES, {"accounts": account_ids})
    found = await tx.execute(_COUNT_QUEUED, {"accounts": account_ids, "most": most})
    return {row[0]: int(row[1]) for row in found}
