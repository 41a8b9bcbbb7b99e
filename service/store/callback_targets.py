"""The subscribers that stand for callback_urls: one for each account and origin."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from service.store.database import Direct

Place = tuple[str, str]  # an account, and an origin


@dataclass(frozen=True, slots=True)
class Target:
    """`secret` is sealed, and signs nothing: what is sent is signed with the account's."""

    id: str
    account_id: str
    origin: str
    secret: bytes = field(repr=False)


_OF = text("""
    SELECT s.account_id, s.url, s.id
    FROM unnest(CAST(:accounts AS text[]), CAST(:origins AS text[])) AS given (account_id, origin)
    JOIN subscribers s ON s.account_id = given.account_id AND s.url = given.origin
        AND s.type = 'callback'
""")
# A process that knows of no types would take it for one that hears of everything: it wants nothing.
# The order keeps two batches from waiting for each other.
_ADD = text("""
    INSERT INTO subscribers
        (id, account_id, type, url, event_types, state, secret, created_at)
    SELECT id, account_id, 'callback', origin, '{}', 'active', secret, :now
    FROM unnest(
        CAST(:ids AS text[]), CAST(:accounts AS text[]), CAST(:origins AS text[]),
        CAST(:secrets AS bytea[])
    ) AS given (id, account_id, origin, secret)
    ORDER BY account_id, origin
    ON CONFLICT (account_id, url) WHERE type = 'callback' DO NOTHING
""")


async def of(tx: Direct, places: Sequence[Place]) -> dict[Place, str]:
    """Those that stand for all of an account's callback_urls at an origin, as far as there are."""
    values = {"accounts": [one[0] for one in places], "origins": [one[1] for one in places]}
    return {(row[0], row[1]): str(row[2]) for row in await tx.execute(_OF, values)}


async def add(tx: Direct, new: Sequence[Target], now: datetime) -> None:
    """Unless there are any: of several at once the first wins, and the others wait for its
    commit."""
    values = {
        "ids": [one.id for one in new],
        "accounts": [one.account_id for one in new],
        "origins": [one.origin for one in new],
        "secrets": [one.secret for one in new],
        "now": now,
    }
    await tx.execute(_ADD, values)
