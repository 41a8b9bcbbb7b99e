"""Callbacks as they came: raw, once each, with what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select, text

from service.schema.callbacks import callbacks
from service.store.connection import Connection
from service.store.rows import from_rows, rows


class Trust(StrEnum):
    """What vouches for a callback."""

    SIGNED = "signed"  # a signature over its bytes
    ADDRESS = "address"  # an address that only the provider knows
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class Callback:
    """One message, as it came. `dedup_key` is what makes two copies the same message;
    `subject_id` is the subject its address names; the last three are what it says, if it could be
    read; `token` is that of its address, kept only where it was rejected."""

    id: str
    source: str
    dedup_key: str
    trust: Trust
    subject_id: str | None
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime
    token: str | None = None
    task_id: str | None = None
    status: str | None = None
    provider_updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A callback with what it came to; `seen` counts the copies that came together."""

    callback: Callback
    subject_id: str | None
    verdict: str
    reason: str | None
    seen: int = 1


OPEN = ("unknown", "mismatch", "parked")  # nothing was made of these: the same may come to more
Saying = tuple[str, str, datetime]  # a task, the word for how it is, and the provider's time


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch must be judged by. `keys` are (source, dedup key) of what was kept before, with
    the SHA-256 of its body; those in `open` may come to something yet. `said` is what the subjects'
    callbacks have said already, and was considered. The last two are what all processes must know:
    see provider_state."""

    keys: Mapping[tuple[str, str], bytes]
    open: frozenset[tuple[str, str]]
    said: frozenset[Saying]
    secrets_version: int
    typical_durations: Mapping[str, float] | None


_KNOWN = text("""
    SELECT 'state', CAST(NULL AS text), CAST(NULL AS text), CAST(NULL AS timestamptz),
        secrets_version, typical_durations, CAST(NULL AS bytea)
    FROM provider_state WHERE id = 1
    UNION ALL
    SELECT verdict, source, dedup_key, NULL, NULL, NULL, sha256(body) FROM callbacks
    WHERE source = ANY (CAST(:sources AS text[])) AND dedup_key = ANY (CAST(:keys AS text[]))
    UNION ALL
    SELECT 'said', task_id, status, provider_updated_at, NULL, NULL, NULL FROM callbacks
    WHERE subject_id = ANY (CAST(:subject_ids AS text[])) AND provider_updated_at IS NOT NULL
    AND verdict IN ('applied', 'late', 'anomaly')
""")
_COLUMNS = {
    "id": "text",
    "source": "text",
    "dedup_key": "text",
    "subject_id": "text",
    "headers": "jsonb",
    "verdict": "text",
    "reason": "text",
    "received_at": "timestamptz",
    "seen": "int",
    "trust": "text",
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
_COPY = """seen = CASE WHEN callbacks.body = excluded.body
    THEN callbacks.seen + excluded.seen END"""
_ANEW = ", ".join(
    f"""{name} = CASE WHEN callbacks.verdict IN ({", ".join(f"'{one}'" for one in OPEN)})
        THEN excluded.{name} ELSE callbacks.{name} END"""
    for name in ("verdict", "reason", "subject_id")
)
KEEP = f"""
    kept AS (
        INSERT INTO callbacks ({", ".join(_COLUMNS)}, body)
        SELECT * FROM {from_rows("callbacks_came", _COLUMNS, beside="callback_bodies")}
        ON CONFLICT (source, dedup_key) DO UPDATE SET {_COPY}, {_ANEW}
    )
"""  # noqa: S608 - only our own column names are put in


async def known(
    tx: Connection, keys: Sequence[tuple[str, str]], subject_ids: Sequence[str]
) -> Known:
    """What was kept of these keys and said of these subjects before. Callers hold the locks of
    the subjects concerned, so a copy that is being kept elsewhere is committed by now."""
    values = {
        "sources": sorted({source for source, _ in keys}),
        "keys": sorted({key for _, key in keys}),
        "subject_ids": subject_ids,
    }
    seen: dict[tuple[str, str], bytes] = {}
    undecided: list[tuple[str, str]] = []
    said: list[Saying] = []
    version, durations = 0, None
    for kind, one, two, time, number, json, digest in await tx.execute(_KNOWN, values):
        match kind:
            case "state":
                version, durations = number, json
            case "said":
                said.append((one, two, time))
            case verdict:
                seen[one, two] = digest
                if verdict in OPEN:
                    undecided.append((one, two))
    return Known(seen, frozenset(undecided), frozenset(said), version, durations)


def keeping(kept: Sequence[Kept]) -> dict[str, Any]:
    """The parameters of KEEP, for callbacks of different keys in the order of these."""
    came = [
        {
            "id": one.callback.id,
            "source": one.callback.source,
            "dedup_key": one.callback.dedup_key,
            "subject_id": one.subject_id,
            "headers": one.callback.headers,
            "verdict": one.verdict,
            "reason": one.reason,
            "received_at": one.callback.received_at,
            "seen": one.seen,
            "trust": one.callback.trust,
            "task_id": one.callback.task_id,
            "status": one.callback.status,
            "provider_updated_at": one.callback.provider_updated_at,
            "token": one.callback.token,
            "size": len(one.callback.body),
        }
        for one in kept
    ]
    return {
        "callbacks_came": rows(came),
        "callback_bodies": [one.callback.body for one in kept],
    }


_TRIM = text("""
    DELETE FROM callbacks WHERE id IN (
        SELECT id FROM callbacks WHERE id IN (
            SELECT id FROM (
                SELECT id, row_number() OVER newest AS number, sum(size) OVER newest AS bytes
                FROM callbacks
                WHERE trust = :trust AND (verdict = 'rejected' OR trust = 'none')
                WINDOW newest AS (ORDER BY id DESC ROWS UNBOUNDED PRECEDING)
            ) AS doubtful
            WHERE number > :most OR bytes > :most_bytes
        )
        FOR UPDATE SKIP LOCKED
    )
""")


async def trim(tx: Connection, trust: Trust, most: int, most_bytes: int) -> None:
    """Let go of the oldest of what anybody can make us keep, beyond this number and size."""
    await tx.execute(_TRIM, {"trust": trust.value, "most": most, "most_bytes": most_bytes})


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
