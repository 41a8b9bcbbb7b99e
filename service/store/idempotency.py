"""Idempotency keys: bound by an accepted request, for a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, text

from service.store.database import Direct, Transaction
from service.store.rows import from_rows, rows
from service.store.tables import idempotency_keys as keys

Named = tuple[str, str]  # an account, and a key of its own


@dataclass(frozen=True, slots=True)
class Bound:
    """What a key stands for."""

    fingerprint: str
    subject_id: str


_COLUMNS = {
    "account_id": "text",
    "key": "text",
    "fingerprint": "text",
    "subject_id": "text",
    "created_at": "timestamptz",
}
# In the order of what they hash to, so that two batches never wait for each other.
_LOCK = text("""
    SELECT pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(account_id || ' ' || key, 0) AS lock
        FROM unnest(CAST(:accounts AS text[]), CAST(:keys AS text[])) AS given (account_id, key)
        ORDER BY lock
    ) AS locks
""")
_BOUND = text("""
    SELECT k.account_id, k.key, k.fingerprint, k.subject_id
    FROM unnest(CAST(:accounts AS text[]), CAST(:keys AS text[])) AS given (account_id, key)
    JOIN idempotency_keys k ON k.account_id = given.account_id AND k.key = given.key
    WHERE k.created_at > :after
""")
_BIND = text(f"""
    INSERT INTO idempotency_keys ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM {from_rows("bound", _COLUMNS)}
    ON CONFLICT (account_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        subject_id = excluded.subject_id, created_at = excluded.created_at
""")  # noqa: S608 - only our own column names are put in


async def lock(tx: Transaction | Direct, named: Sequence[Named]) -> None:
    """Requests with one key go one after the other; the second finds what the first made."""
    await tx.execute(_LOCK, _arrays(named))


async def bound(
    tx: Transaction | Direct, named: Sequence[Named], after: datetime
) -> dict[Named, Bound]:
    """What these are bound to, as far as they were bound after a time."""
    found = await tx.execute(_BOUND, _arrays(named) | {"after": after})
    return {(row[0], row[1]): Bound(row[2], row[3]) for row in found}


async def bind(
    tx: Transaction | Direct, given: Sequence[tuple[Named, Bound]], now: datetime
) -> None:
    """The caller holds the keys' locks, and found them free, or forgotten."""
    values = [
        {
            "account_id": account_id,
            "key": key,
            "fingerprint": one.fingerprint,
            "subject_id": one.subject_id,
            "created_at": now,
        }
        for (account_id, key), one in given
    ]
    await tx.execute(_BIND, {"bound": rows(values)})


async def prune(tx: Transaction, before: datetime) -> None:
    await tx.execute(delete(keys).where(keys.c.created_at <= before))


def _arrays(named: Sequence[Named]) -> dict[str, list[str]]:
    return {"accounts": [one[0] for one in named], "keys": [one[1] for one in named]}
