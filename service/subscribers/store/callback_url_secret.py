"""Accounts and their keys. A key is kept as its hash only."""

from sqlalchemy import text, update

from service.kit.database.connection import Connection
from service.schema.accounts import accounts

_GET = text("SELECT callback_url_secret FROM accounts WHERE id = :account_id")
_GET_FOR_UPDATE = text(f"{_GET} FOR NO KEY UPDATE")
_SET_IF_MISSING = text("""
    UPDATE accounts SET callback_url_secret = coalesce(callback_url_secret, :sealed)
    WHERE id = :account_id RETURNING callback_url_secret
""")


async def get(tx: Connection, account_id: str, *, hold: bool = False) -> bytes | None:
    """What signs for the account's callback_urls, sealed; None as long as nothing was. With `hold`
    nobody else changes it until this transaction ends."""
    sealed = await tx.scalar(_GET_FOR_UPDATE if hold else _GET, {"account_id": account_id})
    return None if sealed is None else bytes(sealed)


async def set_if_missing(tx: Connection, account_id: str, sealed: bytes) -> bytes:
    """Unless it has one; the one it has then. Of several at once the first wins: the others wait
    until it is decided."""
    values = {"account_id": account_id, "sealed": sealed}
    kept = await tx.scalar(_SET_IF_MISSING, values)
    return bytes(kept)


async def replace(tx: Connection, account_id: str, sealed: bytes) -> None:
    """The caller holds it. Those who keep an opened copy for its callback_urls read it anew."""
    own = accounts.c.id == account_id
    await tx.execute(update(accounts).where(own).values(callback_url_secret=sealed))
    await tx.execute(_RAISE_VERSIONS, {"account_id": account_id})


_RAISE_VERSIONS = text("""
    UPDATE subscribers SET version = version + 1 WHERE id IN (
        SELECT id FROM subscribers WHERE account_id = :account_id AND type = 'callback'
        ORDER BY id FOR NO KEY UPDATE
    )
""")
