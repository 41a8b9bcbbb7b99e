"""SQL of the callback inbox: each callback is stored once, raw, with its verdict.

Deduplication is by the unique key (source, dedup_key). What anybody can make us store is bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import delete, select, text

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import EVALUATED, UNDECIDED, Verdict
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.base import one_of
from service.schema.callbacks import callbacks

ReportKey = tuple[str, str, datetime]  # the task id, its status, and the provider's time of that


class CallbackToStore(Struct, frozen=True):
    """A callback that is to be written, with what became of it."""

    callback: Callback  # as it was verified or refused
    subject_id: str | None  # the subject it is about; None if that is not known
    verdict: Verdict  # what became of it
    reason: str | None  # why it is this verdict, in words; None: the verdict says it
    times_received: int = 1  # how many duplicates it stands for, itself included


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What is stored already, as far as the verdicts of a batch depend on it."""

    digests: Mapping[tuple[str, str], bytes]  # (source, dedup_key) → SHA-256 of the stored body
    undecided: frozenset[tuple[str, str]]  # those of these keys whose verdict is in UNDECIDED
    reported: frozenset[ReportKey]  # what evaluated callbacks have reported of the subjects
    secrets_version: int  # of the webhook secrets in force
    # Seconds that a task usually takes, by reference type; None: not learnt yet.
    typical_durations: Mapping[str, float] | None


_CONTEXT = text(f"""
    -- 1 what all callbacks need
    SELECT 'state' AS kind, secrets_version, typical_durations, CAST(NULL AS text) AS source,
        CAST(NULL AS text) AS dedup_key, CAST(NULL AS text) AS verdict,
        CAST(NULL AS bytea) AS digest, CAST(NULL AS text) AS task_id,
        CAST(NULL AS text) AS status, CAST(NULL AS timestamptz) AS provider_updated_at
    FROM provider_state WHERE id = 1
    -- 2 what is stored under the same keys
    UNION ALL
    SELECT 'stored', NULL, NULL, source, dedup_key, verdict, sha256(body), NULL, NULL, NULL
    FROM callbacks
    WHERE source = ANY (CAST(:sources AS text[])) AND dedup_key = ANY (CAST(:keys AS text[]))
    -- 3 what has been reported of the subjects
    UNION ALL
    SELECT 'report', NULL, NULL, NULL, NULL, NULL, NULL, task_id, status, provider_updated_at
    FROM callbacks
    WHERE subject_id = ANY (CAST(:subject_ids AS text[])) AND provider_updated_at IS NOT NULL
    AND verdict IN ({one_of(EVALUATED)})
""")  # noqa: S608 - only our own words are put in
_COLUMNS = {
    "id": "text",
    "source": "text",
    "dedup_key": "text",
    "subject_id": "text",
    "headers": "jsonb",
    "verdict": "text",
    "reason": "text",
    "received_at": "timestamptz",
    "times_received": "int",
    "verification": "text",
    "task_id": "text",
    "status": "text",
    "provider_updated_at": "timestamptz",
    "token": "text",
    "size": "int",
}
# A duplicate of a stored callback is counted; an undecided one gets the verdict that it has now.
# The unique key settles the race of duplicates that name no subject, which no lock orders; the
# order of the keys keeps two batches from waiting for each other. Another body, under a key that
# was not stored when the batch was applied, makes times_received NULL: the statement fails, and the
# batch is made again with that body known.
_COUNT_COPIES = """times_received = CASE WHEN callbacks.body = excluded.body
    THEN callbacks.times_received + excluded.times_received END"""
_REPLACE_UNDECIDED = ", ".join(
    f"""{name} = CASE WHEN callbacks.verdict IN ({one_of(UNDECIDED)})
        THEN excluded.{name} ELSE callbacks.{name} END"""
    for name in ("verdict", "reason", "subject_id")
)
STORE = f"""
    stored AS (
        INSERT INTO callbacks ({", ".join(_COLUMNS)}, body)
        SELECT * FROM {from_rows("callback_rows", _COLUMNS, bytea="callback_bodies")}
        ON CONFLICT (source, dedup_key) DO UPDATE SET {_COUNT_COPIES}, {_REPLACE_UNDECIDED}
    )
"""  # noqa: S608 - only our own column names are put in


async def batch_context(
    tx: Connection, keys: Sequence[tuple[str, str]], subject_ids: Sequence[str]
) -> BatchContext:
    """What is stored under these pairs of source and key, and of these subjects. Callers hold the
    locks of the subjects, so what another process stores about them is committed by now."""
    values = {
        "sources": sorted({source for source, _ in keys}),
        "keys": sorted({key for _, key in keys}),
        "subject_ids": subject_ids,
    }
    rows = await tx.execute(_CONTEXT, values)
    (state,) = [row for row in rows if row["kind"] == "state"]
    stored = {(row["source"], row["dedup_key"]): row for row in rows if row["kind"] == "stored"}
    reports = (row for row in rows if row["kind"] == "report")
    return BatchContext(
        digests={key: row["digest"] for key, row in stored.items()},
        undecided=frozenset(key for key, row in stored.items() if row["verdict"] in UNDECIDED),
        reported=frozenset(
            (row["task_id"], row["status"], row["provider_updated_at"]) for row in reports
        ),
        secrets_version=state["secrets_version"],
        typical_durations=state["typical_durations"],
    )


def store_parameters(callbacks: Sequence[CallbackToStore]) -> dict[str, Any]:
    """The parameters of STORE, for callbacks that are ordered by their keys, each key once."""
    return {
        "callback_rows": encode_rows([_row(to_store) for to_store in callbacks]),
        "callback_bodies": [to_store.callback.body for to_store in callbacks],
    }


def _row(to_store: CallbackToStore) -> dict[str, Any]:
    callback = to_store.callback
    return {
        "id": callback.id,
        "source": callback.raw.source,
        "dedup_key": callback.dedup_key,
        "subject_id": to_store.subject_id,
        "headers": callback.headers,
        "verdict": to_store.verdict,
        "reason": to_store.reason,
        "received_at": callback.raw.received_at,
        "times_received": to_store.times_received,
        "verification": callback.verification,
        "task_id": callback.task_id,
        "status": callback.status,
        "provider_updated_at": callback.provider_updated_at,
        "token": callback.token,
        "size": len(callback.body),
    }


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
    old = (
        select(callbacks.c.id)
        .where(callbacks.c.received_at < before)
        .order_by(callbacks.c.received_at)
        .limit(limit)
    )
    statement = delete(callbacks).where(callbacks.c.id.in_(old)).returning(callbacks.c.id)
    return len(await tx.execute(statement))
