"""Ids of subjects in numbered pages, which the provider's own list has (rule P4)."""

from collections.abc import Sequence

from sqlalchemy import text

from service.kit.database.connection import Connection

# Skipped rows are read in the index alone: the last page permitted lies behind 499,500 others.
_OF_ACCOUNT = text("""
    SELECT id FROM subjects WHERE account_id = :account
    ORDER BY created_at DESC, id DESC OFFSET :skipped LIMIT :size
""")
_OF_ALL_ACCOUNTS = text("SELECT id FROM subjects ORDER BY id DESC OFFSET :skipped LIMIT :size")


async def subject_ids(
    tx: Connection, account_id: str | None, number: int, size: int
) -> Sequence[str]:
    """Page `number` (from 1) of the ids of an account's subjects (None: of every account), the
    newest first."""
    values: dict[str, object] = {"skipped": (number - 1) * size, "size": size}
    if account_id is None:
        return [row[0] for row in await tx.execute(_OF_ALL_ACCOUNTS, values)]
    return [row[0] for row in await tx.execute(_OF_ACCOUNT, values | {"account": account_id})]
