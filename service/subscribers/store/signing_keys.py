"""The keys that subscribers' deliveries are signed with now, and the public ones of all."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, text, update

from service.kit.database.connection import Connection
from service.schema.subscribers import subscribers
from service.subscribers.domain.subscriber import SubscriberType


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """`secret` and `seed` are sealed; the last two are None unless v1a was asked for once."""

    secret: bytes = field(repr=False)
    seed: bytes | None = field(repr=False)
    public_key: bytes | None


async def lock(tx: Connection, account_id: str, subscriber_id: str) -> SigningKeys | None:
    """The keys, and the subscriber's row locked until this transaction ends; None if the account
    has no such subscriber, or it stands for callback_urls, which the account signs for."""
    found = (
        select(subscribers.c.secret, subscribers.c.seed, subscribers.c.public_key)
        .where(
            subscribers.c.account_id == account_id,
            subscribers.c.id == subscriber_id,
            subscribers.c.type != SubscriberType.CALLBACK,
        )
        .with_for_update(key_share=True)
    )
    row = await tx.first(found)
    return None if row is None else SigningKeys(*row)


async def change(tx: Connection, subscriber_id: str, keys: SigningKeys) -> bool:
    """Put other keys in force; whether v1a is among its signatures. The caller holds the row."""
    statement = (
        update(subscribers)
        .where(subscribers.c.id == subscriber_id)
        .values(
            secret=keys.secret,
            seed=keys.seed,
            public_key=keys.public_key,
            version=subscribers.c.version + 1,
        )
        .returning(subscribers.c.signatures)
    )
    return "v1a" in await tx.scalar(statement)


_PUBLIC = text("""
    (SELECT public_key FROM subscribers
        WHERE public_key IS NOT NULL AND 'v1a' = ANY (signatures) ORDER BY id DESC LIMIT :most)
    UNION ALL
    (SELECT public_key FROM previous_signing_keys
        WHERE public_key IS NOT NULL AND expires_at > :now ORDER BY id DESC LIMIT :most)
""")


async def public(tx: Connection, now: datetime, most: int) -> list[bytes]:
    """The public keys in force, those of the youngest subscribers first, then the retired ones, the
    youngest first: at most so many of either."""
    found = await tx.execute(_PUBLIC, {"now": now, "most": most})
    return [row["public_key"] for row in found]
