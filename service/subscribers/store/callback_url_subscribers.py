"""Hidden subscribers (type `callback`) of requests' own callback_urls: one for each account and
origin."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection

AccountOrigin = tuple[str, str]  # an account's id, and the origin of callback_urls


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """A hidden subscriber that is to be added."""

    id: str  # sbr_…
    account_id: str  # of the account whose requests name the callback_urls
    origin: str  # its URL: `callback://host:port`
    secret: bytes = field(repr=False)  # encrypted; signs nothing: the account's secret does


_SUBSCRIBER_IDS = text("""
    SELECT s.account_id, s.url, s.id
    FROM unnest(CAST(:accounts AS text[]), CAST(:origins AS text[])) AS given (account_id, origin)
    JOIN subscribers s ON s.account_id = given.account_id AND s.url = given.origin
        AND s.type = 'callback'
""")
# event_types is '{}': such a subscriber is sent no event but those of the subjects that name it.
# The order keeps two batches from waiting for each other.
_ADD_SUBSCRIBERS = text("""
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


async def subscriber_ids(
    tx: Connection, origins: Sequence[AccountOrigin]
) -> dict[AccountOrigin, str]:
    """The subscriber's id of each account and origin that has one already."""
    values = {
        "accounts": [account_id for account_id, _ in origins],
        "origins": [origin for _, origin in origins],
    }
    return {(row[0], row[1]): str(row[2]) for row in await tx.execute(_SUBSCRIBER_IDS, values)}


async def add_subscribers(
    tx: Connection, new_subscribers: Sequence[NewSubscriber], now: datetime
) -> dict[AccountOrigin, str]:
    """Write the subscribers whose account and origin have none yet; the subscriber's id of each
    account and origin then. Of concurrent transactions the first writes, and the others wait for
    its commit."""
    values = {
        "ids": [subscriber.id for subscriber in new_subscribers],
        "accounts": [subscriber.account_id for subscriber in new_subscribers],
        "origins": [subscriber.origin for subscriber in new_subscribers],
        "secrets": [subscriber.secret for subscriber in new_subscribers],
        "now": now,
    }
    await tx.execute(_ADD_SUBSCRIBERS, values)
    return await subscriber_ids(
        tx, [(subscriber.account_id, subscriber.origin) for subscriber in new_subscribers]
    )
