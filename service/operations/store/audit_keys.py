"""Whose keys the audit tries: those of all subscribers that are sent something."""

from sqlalchemy import text

from service.kit.database.connection import Connection

LAST = "~"  # sorts behind every id

_MADE = text("""
    SELECT id FROM subscribers
    WHERE type IN ('webhook', 'nats', 'redis_stream') AND id < :below AND state <> 'disabled'
    ORDER BY id DESC LIMIT :limit
""")
# Those of an account share its key: one of them stands for all.
_HIDDEN = text("""
    SELECT a.id, (
        SELECT s.id FROM subscribers s WHERE s.account_id = a.id AND s.type = 'callback'
        ORDER BY s.account_id, s.url LIMIT 1
    ) FROM accounts a WHERE a.id < :below ORDER BY a.id DESC LIMIT :limit
""")


async def made(tx: Connection, below: str, limit: int) -> list[str]:
    """Ids of subscribers that accounts made, at most `limit`, the newest below this id first; the
    disabled ones are left out."""
    return [id_ for (id_,) in await tx.execute(_MADE, {"below": below, "limit": limit})]


async def hidden(tx: Connection, below: str, limit: int) -> dict[str, str | None]:
    """By account, the newest below this id first and at most `limit`, the id of one of its hidden
    subscribers; None if it has none."""
    return dict(await tx.execute(_HIDDEN, {"below": below, "limit": limit}))
