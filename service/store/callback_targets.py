"""The subscribers that stand for callback_urls: one for each account and origin."""

from datetime import datetime

from sqlalchemy import text

from service.store.database import Direct, Transaction

_OF = text("""
    SELECT id FROM subscribers
    WHERE account_id = :account_id AND url = :origin AND type = 'callback'
""")
# A process that knows of no types would take it for one that hears of everything: it wants nothing.
_ADD = text("""
    INSERT INTO subscribers
        (id, account_id, type, url, event_types, state, secret, created_at)
    VALUES (:id, :account_id, 'callback', :origin, '{}', 'active', :secret, :now)
    ON CONFLICT (account_id, url) WHERE type = 'callback' DO NOTHING
""")


async def of(tx: Transaction | Direct, account_id: str, origin: str) -> str | None:
    """The one that stands for all of an account's callback_urls at this origin."""
    found = await tx.execute(_OF, {"account_id": account_id, "origin": origin})
    return next((str(row[0]) for row in found), None)


async def add(  # noqa: PLR0913 - one row's worth
    tx: Transaction | Direct,
    *,
    id_: str,
    account_id: str,
    origin: str,
    secret: bytes,
    now: datetime,
) -> None:
    """Unless there is one: of several at once the first wins, and the others wait for its commit.
    `secret` is sealed, and signs nothing: what is sent is signed with the account's."""
    values = {
        "id": id_,
        "account_id": account_id,
        "origin": origin,
        "secret": secret,
        "now": now,
    }
    await tx.execute(_ADD, values)
