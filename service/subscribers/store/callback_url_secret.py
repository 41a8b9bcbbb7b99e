"""The secret that signs what an account's callback_urls are sent; encryption at rest."""

from sqlalchemy import text

from service.kit.database.connection import Connection

_GET = text("SELECT callback_url_secret FROM accounts WHERE id = :account_id")
_GET_FOR_UPDATE = text(f"{_GET} FOR NO KEY UPDATE")
_SET_IF_MISSING = text("""
    UPDATE accounts SET callback_url_secret = coalesce(callback_url_secret, :encrypted)
    WHERE id = :account_id RETURNING callback_url_secret
""")
_REPLACE = text("UPDATE accounts SET callback_url_secret = :encrypted WHERE id = :account_id")
_RAISE_VERSIONS = text("""
    UPDATE subscribers SET version = version + 1 WHERE id IN (
        SELECT id FROM subscribers WHERE account_id = :account_id AND type = 'callback'
        ORDER BY id FOR NO KEY UPDATE
    )
""")


async def get(tx: Connection, account_id: str, *, for_update: bool = False) -> bytes | None:
    """An account's encrypted secret; None if it has none. `for_update` locks the account's row
    until this transaction ends."""
    statement = _GET_FOR_UPDATE if for_update else _GET
    encrypted: bytes | None = await tx.scalar(statement, {"account_id": account_id})
    return encrypted


async def set_if_missing(tx: Connection, account_id: str, encrypted: bytes) -> bytes:
    """Give an account this secret unless it has one, and get the one it has then. Of concurrent
    transactions the first to commit wins, and the others wait for it."""
    values = {"account_id": account_id, "encrypted": encrypted}
    return bytes(await tx.scalar(_SET_IF_MISSING, values))


async def replace(tx: Connection, account_id: str, encrypted: bytes) -> None:
    """Give an account this secret in place of another; its row is locked. Raises the version of
    its callback_urls' subscribers, so that senders read the secret anew."""
    await tx.execute(_REPLACE, {"account_id": account_id, "encrypted": encrypted})
    await tx.execute(_RAISE_VERSIONS, {"account_id": account_id})
