"""Idempotency keys: an accepted request binds its key to the subject that it made. insert.py binds
them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import text

from service.kit.database.connection import Connection

AccountAndKey = tuple[str, str]  # an account's id, and an idempotency key of its own


class Binding(Struct, frozen=True):
    """What an idempotency key is bound to."""

    fingerprint: str  # CreateRequest.fingerprint of the request that bound it
    subject_id: str  # the subject that this request made, or was answered with
    created_at: datetime  # when it was bound


_FREE = text("""
    DELETE FROM idempotency_keys k
    USING unnest(
        CAST(:accounts AS text[]), CAST(:keys AS text[]), CAST(:subject_ids AS text[])
    ) AS given (account_id, key, subject_id)
    WHERE k.account_id = given.account_id AND k.key = given.key
    AND k.subject_id = given.subject_id
""")

_PRUNE = text("""
    WITH deleted AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys
            WHERE created_at <= :before ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM deleted
""")


async def free(tx: Connection, bound: Sequence[tuple[AccountAndKey, Binding]]) -> None:
    """Delete these keys, but for those that are bound to another subject by now."""
    values = {
        "accounts": [account_id for (account_id, _), _ in bound],
        "keys": [key for (_, key), _ in bound],
        "subject_ids": [binding.subject_id for _, binding in bound],
    }
    await tx.execute(_FREE, values)


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest `limit` keys at most, of those bound at `before` or earlier; how many."""
    return int(await tx.scalar(_PRUNE, {"before": before, "limit": limit}))
