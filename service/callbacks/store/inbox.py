"""SQL of the callback inbox: each callback is stored once, raw, with its verdict.

Deduplication is by the unique key (source, dedup_key). What anybody can make us store is bounded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from msgspec import Struct
from sqlalchemy import delete, select, text

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import EVALUATED, UNDECIDED, Verdict
from service.kit.database.connection import Connection
from service.kit.database.guards import guard
from service.kit.database.json_rows import columns_of, encode_rows, from_rows
from service.kit.ids import first_id
from service.schema.base import one_of
from service.schema.callbacks import callbacks
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects
from service.subjects.store.subjects import COLUMN_NAMES as SUBJECT_COLUMN_NAMES
from service.subjects.store.subjects import COLUMNS as SUBJECT_COLUMNS
from service.subjects.store.subjects import subject_of

ReportKey = tuple[str, str, datetime]  # the task id, its status, and the provider's time of that


class CallbackToStore(Struct, frozen=True):
    """A callback that is to be written, with what became of it."""

    callback: Callback  # as it was verified or refused
    subject_id: str | None  # the subject it is about; None if that is not known
    verdict: Verdict  # what became of it
    reason: str | None  # why it is this verdict, in words; None: the verdict says it
    times_received: int = 1  # how many duplicates it stands for, itself included
    erased: bool = False  # its subject was erased: of its body only the SHA-256 is written


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What is stored already, as far as the verdicts of a batch depend on it."""

    subjects: Sequence[Subject]  # those that the callbacks are about, or name
    digests: Mapping[tuple[str, str], bytes]  # (source, dedup_key) → SHA-256 of the body that came
    undecided: frozenset[tuple[str, str]]  # those of these keys whose verdict is in UNDECIDED
    reported: frozenset[ReportKey]  # what evaluated callbacks have reported of the subjects
    secrets_version: int  # of the webhook secrets in force
    # Seconds that a task usually takes, by reference type; None: not learnt yet.
    typical_durations: Mapping[str, float] | None


# The columns that rows of each kind have beside that of the kind; a subject's come first.
_OTHER_COLUMNS = {
    "secrets_version": "bigint",
    "typical_durations": "jsonb",
    "source": "text",
    "dedup_key": "text",
    "verdict": "text",
    "digest": "bytea",
    "task_id": "text",
    "status": "text",
    "reported_at": "timestamptz",
}
_NO_SUBJECT = ", ".join(["NULL"] * len(SUBJECT_COLUMNS))
_CONTEXT = text(f"""
    WITH found AS (
        SELECT {SUBJECT_COLUMN_NAMES} FROM subjects
        WHERE id = ANY (CAST(:ids AS text[]) || ARRAY(
            SELECT id FROM subjects WHERE provider_task_id = ANY (CAST(:task_ids AS text[]))
        ))
    )
    -- 1 the subjects
    SELECT 'subject' AS kind, {SUBJECT_COLUMN_NAMES},
        {", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in _OTHER_COLUMNS.items())}
    FROM found
    -- 2 what all callbacks need
    UNION ALL
    SELECT 'state', {_NO_SUBJECT}, secrets_version, typical_durations,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM provider_state WHERE id = 1
    -- 3 what is stored under the same keys
    UNION ALL
    SELECT 'stored', {_NO_SUBJECT}, NULL, NULL,
        source, dedup_key, verdict, coalesce(erased_sha256, sha256(body)), NULL, NULL, NULL
    FROM callbacks
    WHERE source = ANY (CAST(:sources AS text[])) AND dedup_key = ANY (CAST(:keys AS text[]))
    -- 4 what has been reported of the subjects
    UNION ALL
    SELECT 'report', {_NO_SUBJECT}, NULL, NULL,
        NULL, NULL, NULL, NULL, task_id, status, provider_updated_at
    FROM callbacks
    WHERE subject_id = ANY (ARRAY(SELECT id FROM found)) AND provider_updated_at IS NOT NULL
    AND verdict IN ({one_of(EVALUATED)})
""")  # noqa: S608 - only our own words are put in


class _Row(Struct, omit_defaults=True):
    """A callback as it is written, without its body."""

    id: str
    source: str
    dedup_key: str
    headers: Mapping[str, str]
    verdict: str
    received_at: datetime
    verification: str
    times_received: int = 1
    subject_id: str | None = None
    reason: str | None = None
    task_id: str | None = None
    status: str | None = None
    provider_updated_at: datetime | None = None
    token: str | None = None
    erased_digest: str | None = None  # SHA-256 (hex) of a body that is not written


_COLUMNS = columns_of(_Row)
_OWN_COLUMNS = [name for name in _COLUMNS if name not in {"times_received", "erased_digest"}]
# A duplicate of a stored callback is counted; an undecided one gets the verdict that it has now.
# The unique key settles the race of duplicates that name no subject, which no lock orders; the
# order of the keys keeps two batches from waiting for each other. Another body, under a key that
# was not stored when the batch was applied, fails the guard, and the batch is applied again with
# that body known.
_SAME_BODY = """coalesce(callbacks.erased_sha256, sha256(callbacks.body))
    = coalesce(excluded.erased_sha256, sha256(excluded.body))"""
_COUNT_COPIES = f"""times_received = callbacks.times_received
    + excluded.times_received * ({guard(_SAME_BODY)})"""
_REPLACE_UNDECIDED = ", ".join(
    f"""{name} = CASE WHEN callbacks.verdict IN ({one_of(UNDECIDED)})
        THEN excluded.{name} ELSE callbacks.{name} END"""
    for name in ("verdict", "reason", "subject_id")
)
STORE = f"""
    stored AS (
        INSERT INTO callbacks
            ({", ".join(_OWN_COLUMNS)}, times_received, size, body, erased_sha256)
        SELECT {", ".join(_OWN_COLUMNS)}, coalesce(times_received, 1), octet_length(bytes), bytes,
            decode(erased_digest, 'hex')
        FROM {from_rows("callback_rows", _COLUMNS, bytea="callback_bodies")}
        ON CONFLICT (source, dedup_key) DO UPDATE SET {_COUNT_COPIES}, {_REPLACE_UNDECIDED}
    )
"""  # noqa: S608 - only our own column names are put in


async def batch_context(tx: Connection, callbacks: Sequence[Callback]) -> BatchContext:
    """What is stored that the verdicts of these callbacks depend on, at one moment."""
    subject_ids = {c.subject_id or c.report.external_task_id for c in callbacks}
    values = {
        "ids": _without_none(subject_ids),
        "task_ids": _without_none({callback.task_id for callback in callbacks}),
        "sources": _without_none({callback.raw.source for callback in callbacks}),
        "keys": _without_none({callback.dedup_key for callback in callbacks}),
    }
    rows: dict[str, list[Any]] = {kind: [] for kind in ("subject", "state", "stored", "report")}
    for row in await tx.execute(_CONTEXT, values):
        rows[row[0]].append(row)
    (state,) = rows["state"]
    stored = {(row["source"], row["dedup_key"]): row for row in rows["stored"]}
    return BatchContext(
        subjects=[subject_of(row[1 : 1 + len(SUBJECT_COLUMNS)]) for row in rows["subject"]],
        digests={key: row["digest"] for key, row in stored.items()},
        undecided=frozenset(key for key, row in stored.items() if row["verdict"] in UNDECIDED),
        reported=frozenset(
            (row["task_id"], row["status"], row["reported_at"]) for row in rows["report"]
        ),
        secrets_version=state["secrets_version"],
        typical_durations=state["typical_durations"],
    )


async def lock_subjects(tx: Connection, callbacks: Sequence[Callback]) -> None:
    """Lock the subjects that these callbacks are about until this transaction ends: duplicates
    that arrive elsewhere at the same time wait, and then find what is stored here."""
    await subjects.lock_all(
        tx,
        ids=_without_none({c.subject_id or c.report.external_task_id for c in callbacks}),
        provider_task_ids=_without_none({callback.task_id for callback in callbacks}),
    )


def _without_none(values: Iterable[str | None]) -> list[str]:
    return [value for value in values if value is not None]


def store_parameters(callbacks: Sequence[CallbackToStore]) -> dict[str, Any]:
    """The parameters of STORE, for callbacks that are ordered by their keys, each key once."""
    return {
        "callback_rows": encode_rows([_row(to_store) for to_store in callbacks]),
        "callback_bodies": [
            b"" if to_store.erased else to_store.callback.body for to_store in callbacks
        ],
    }


def _row(to_store: CallbackToStore) -> _Row:
    callback, erased = to_store.callback, to_store.erased
    return _Row(
        id=callback.id,
        source=callback.raw.source,
        dedup_key=callback.dedup_key,
        headers={} if erased else callback.headers,
        verdict=to_store.verdict,
        received_at=callback.raw.received_at,
        verification=callback.verification,
        times_received=to_store.times_received,
        subject_id=to_store.subject_id,
        reason=None if erased else to_store.reason,
        task_id=callback.task_id,
        status=callback.status,
        provider_updated_at=callback.provider_updated_at,
        token=callback.token,
        erased_digest=sha256(callback.body).hexdigest() if erased else None,
    )


_TRIM = text("""
    DELETE FROM callbacks WHERE id IN (
        SELECT id FROM callbacks WHERE id IN (
            SELECT id FROM (
                SELECT id, row_number() OVER newest AS number, sum(size) OVER newest AS bytes
                FROM callbacks
                WHERE verification = :verification
                AND (verdict = 'rejected' OR verification = 'none')
                WINDOW newest AS (ORDER BY id DESC ROWS UNBOUNDED PRECEDING)
            ) AS untrusted
            WHERE number > :max_count OR bytes > :max_bytes
        )
        FOR UPDATE SKIP LOCKED
    )
""")


async def trim(tx: Connection, verification: Verification, max_count: int, max_bytes: int) -> None:
    """Delete the oldest untrusted callbacks of this verification: all but the newest
    `max_count`, which have at most `max_bytes` of bodies."""
    await tx.execute(
        _TRIM, {"verification": verification.value, "max_count": max_count, "max_bytes": max_bytes}
    )


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest `limit` callbacks at most, of those received before a time; how many."""
    first_kept = first_id("cbk", before.timestamp())  # an id has the time of receipt in it
    old = (
        select(callbacks.c.id)
        .where(callbacks.c.id < first_kept)
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    statement = delete(callbacks).where(callbacks.c.id.in_(old)).returning(callbacks.c.id)
    return len(await tx.execute(statement))
