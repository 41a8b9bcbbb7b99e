"""Idempotency keys: bound by an accepted request, for a day."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from service.store.database import Transaction
from service.store.tables import idempotency_keys as keys


@dataclass(frozen=True, slots=True)
class Bound:
    """What a key stands for."""

    fingerprint: str
    subject_id: str


async def lock(tx: Transaction, account_id: str, key: str) -> None:
    """Requests with one key go one after the other; the second finds what the first made."""
    name = func.hashtextextended(f"{account_id} {key}", 0)
    await tx.execute(select(func.pg_advisory_xact_lock(name)))


async def bind(  # noqa: PLR0913 - one row's worth
    tx: Transaction,
    *,
    account_id: str,
    key: str,
    fingerprint: str,
    subject_id: str,
    now: datetime,
) -> None:
    """The caller holds the key's lock and found it free."""
    await tx.execute(
        insert(keys).values(
            account_id=account_id,
            key=key,
            fingerprint=fingerprint,
            subject_id=subject_id,
            created_at=now,
        )
    )


async def get(tx: Transaction, account_id: str, key: str, after: datetime) -> Bound | None:
    """What the key is bound to, if it was bound after a time; an older one is forgotten."""
    await tx.execute(
        delete(keys).where(
            keys.c.account_id == account_id, keys.c.key == key, keys.c.created_at <= after
        )
    )
    statement = select(keys.c.fingerprint, keys.c.subject_id).where(
        keys.c.account_id == account_id, keys.c.key == key
    )
    row = (await tx.execute(statement)).first()
    return None if row is None else Bound(*row)


async def prune(tx: Transaction, before: datetime) -> None:
    await tx.execute(delete(keys).where(keys.c.created_at <= before))
