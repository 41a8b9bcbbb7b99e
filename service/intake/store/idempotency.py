"""Idempotency keys: an accepted request binds its key to the subject that it made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.subjects import idempotency_keys

AccountAndKey = tuple[str, str]  # an account's id, and an idempotency key of its own


@dataclass(frozen=True, slots=True)
class Binding:
    """What an idempotency key is bound to."""

    fingerprint: str  # CreateRequest.fingerprint of the request that bound it
    subject_id: str  # the subject that this request made, or was answered with


_COLUMNS = {
    "account_id": "text",
    "key": "text",
    "fingerprint": "text",
    "subject_id": "text",
    "created_at": "timestamptz",
}
# In the order of the hashes, so that two batches never wait for each other.
_LOCK = text("""
    SELECT pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(account_id || ' ' || key, 0) AS lock
        FROM unnest(CAST(:accounts AS text[]), CAST(:keys AS text[])) AS given (account_id, key)
        ORDER BY lock
    ) AS locks
""")
_BINDINGS = text("""
    SELECT k.account_id, k.key, k.fingerprint, k.subject_id
    FROM unnest(CAST(:accounts AS text[]), CAST(:keys AS text[])) AS given (account_id, key)
    JOIN idempotency_keys k ON k.account_id = given.account_id AND k.key = given.key
    WHERE k.created_at > :after
""")
_BIND = text(f"""
    INSERT INTO idempotency_keys ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM {from_rows("bindings", _COLUMNS)}
    ON CONFLICT (account_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        subject_id = excluded.subject_id, created_at = excluded.created_at
""")  # noqa: S608 - only our own column names are put in


async def lock_and_read(
    tx: Connection, keys: Sequence[AccountAndKey], after: datetime
) -> dict[AccountAndKey, Binding]:
    """Lock keys until this transaction ends, and return what each is bound to that was bound after
    `after`. The advisory lock decides the race of requests with one key: the second waits, and
    finds what the first made."""
    arrays = {
        "accounts": [account_id for account_id, _ in keys],
        "keys": [key for _, key in keys],
    }
    await tx.execute(_LOCK, arrays)
    found = await tx.execute(_BINDINGS, arrays | {"after": after})
    return {(row[0], row[1]): Binding(row[2], row[3]) for row in found}


async def bind(tx: Connection, bindings: Mapping[AccountAndKey, Binding], now: datetime) -> None:
    """Bind keys, or bind expired ones anew; the caller holds their locks."""
    values = [
        {"account_id": account_id, "key": key, **asdict(binding), "created_at": now}
        for (account_id, key), binding in bindings.items()
    ]
    await tx.execute(_BIND, {"bindings": encode_rows(values)})


async def prune(tx: Connection, before: datetime) -> None:
    """Delete the keys that were bound at `before` or earlier."""
    await tx.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at <= before))
