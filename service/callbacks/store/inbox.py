"""The inbox of callbacks: raw, once each, with what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, text

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import EVALUATED, UNDECIDED, Verdict
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.base import one_of
from service.schema.callbacks import callbacks

ReportKey = tuple[str, str, datetime]  # a task, the word for how it is, and the provider's time


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """A callback with what it came to."""

    callback: Callback
    subject_id: str | None  # the subject it is about; None if that is not known
    verdict: Verdict
    reason: str | None
    times_received: int = 1  # copies that came together


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a batch must be judged by."""

    digests: Mapping[tuple[str, str], bytes]  # (source, dedup key) of what is stored → its SHA-256
    undecided: frozenset[tuple[str, str]]  # which of these may come to something yet
    reported: frozenset[ReportKey]  # what the subjects' callbacks have said, and was considered
    secrets_version: int  # of the webhook secrets in force; see provider_state
    typical_durations: (
        Mapping[str, float] | None
    )  # reference type → seconds that a task takes; likewise


_CONTEXT = text(f"""
    SELECT 'state' AS kind, CAST(NULL AS text) AS verdict, CAST(NULL AS text), CAST(NULL AS text),
        CAST(NULL AS timestamptz), CAST(NULL AS bytea), secrets_version, typical_durations
    FROM provider_state WHERE id = 1
    UNION ALL
    SELECT 'stored', verdict, source, dedup_key, NULL, sha256(body), NULL, NULL FROM callbacks
    WHERE source = ANY (CAST(:sources AS text[])) AND dedup_key = ANY (CAST(:keys AS text[]))
    UNION ALL
    SELECT 'report', NULL, task_id, status, provider_updated_at, NULL, NULL, NULL FROM callbacks
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
# One that was here before is counted instead, and what nothing was made of is as it is found now:
# the unique key settles the race of copies that name no subject and arrive at once. The order of
# the keys keeps two batches of such from waiting for each other.
# Other bytes that came at the very same moment are no copy: that is no number, and the whole is
# refused and made again, when they are known to be others.
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
        SELECT * FROM {from_rows("callbacks_came", _COLUMNS, beside="callback_bodies")}
        ON CONFLICT (source, dedup_key) DO UPDATE SET {_COUNT_COPIES}, {_REPLACE_UNDECIDED}
    )
"""  # noqa: S608 - only our own column names are put in


async def batch_context(
    tx: Connection, keys: Sequence[tuple[str, str]], subject_ids: Sequence[str]
) -> BatchContext:
    """What was stored under these keys and said of these subjects before. Callers hold the locks of
    the subjects concerned, so a copy that is being stored elsewhere is committed by now."""
    values = {
        "sources": sorted({source for source, _ in keys}),
        "keys": sorted({key for _, key in keys}),
        "subject_ids": subject_ids,
    }
    digests: dict[tuple[str, str], bytes] = {}
    undecided: list[tuple[str, str]] = []
    reported: list[ReportKey] = []
    version, durations = 0, None
    for kind, verdict, first, second, time, digest, number, seconds in await tx.execute(
        _CONTEXT, values
    ):
        if kind == "state":
            version, durations = number, seconds
        elif kind == "report":
            reported.append((first, second, time))
        else:
            digests[first, second] = digest
            if verdict in UNDECIDED:
                undecided.append((first, second))
    return BatchContext(digests, frozenset(undecided), frozenset(reported), version, durations)


def store_parameters(callbacks: Sequence[StoredCallback]) -> dict[str, Any]:
    """The parameters of STORE, for callbacks of different keys in the order of these."""
    return {
        "callbacks_came": encode_rows([_row(stored) for stored in callbacks]),
        "callback_bodies": [stored.callback.body for stored in callbacks],
    }


def _row(stored: StoredCallback) -> dict[str, Any]:
    callback = stored.callback
    return {
        "id": callback.id,
        "source": callback.raw.source,
        "dedup_key": callback.dedup_key,
        "subject_id": stored.subject_id,
        "headers": callback.headers,
        "verdict": stored.verdict,
        "reason": stored.reason,
        "received_at": callback.raw.received_at,
        "times_received": stored.times_received,
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
            WHERE number > :most OR bytes > :most_bytes
        )
        FOR UPDATE SKIP LOCKED
    )
""")


async def trim(tx: Connection, verification: Verification, most: int, most_bytes: int) -> None:
    """Let go of the oldest of what anybody can make us keep, beyond this number and size."""
    await tx.execute(
        _TRIM, {"verification": verification.value, "most": most, "most_bytes": most_bytes}
    )


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Forget the oldest beyond the retention time, a small batch at a time; how many."""
    old = (
        select(callbacks.c.id)
        .where(callbacks.c.received_at < before)
        .order_by(callbacks.c.received_at)
        .limit(limit)
    )
    statement = delete(callbacks).where(callbacks.c.id.in_(old)).returning(callbacks.c.id)
    return len(await tx.execute(statement))
