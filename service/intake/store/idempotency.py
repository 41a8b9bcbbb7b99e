"""Idempotency keys: an accepted request binds its key to the subject that it made. insert.py binds
them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import delete, text

from service.kit.database.connection import Connection
from service.schema.subjects import idempotency_keys

AccountAndKey = tuple[str, str]  # an account's id, and an idempotency key of its own


class Binding(Struct, frozen=True):
    """What an idempotency key is bound to."""

    fingerprint: str  # CreateRequest.fingerprint of the request that bound it
    subject_id: str  # the subject that this request made, or was answered with
    created_at: datetime  # when it was bound


_FREE = text("""
    DELETE FROM idempotency_keys k
    USING unnest(CAST(:accounts AS text[]), CAST(:keys AS text[])) AS given (account_id, key)
    WHERE k.account_id = given.account_id AND k.key = given.key AND k.created_at <= :before
""")


async def free(tx: Connection, keys: Sequence[AccountAndKey], before: datetime) -> None:
    """Delete those of these keys that were bound at `before` or earlier."""
    values = {
        "accounts": [account_id for account_id, _ in keys],
        "keys": [key for _, key in keys],
    }
    await tx.execute(_FREE, values | {"before": before})


async def prune(tx: Connection, before: datetime) -> None:
    """Delete all keys that were bound at `before` or earlier."""
    await tx.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at <= before))
