"""Signing keys of deliveries: those in force, and previous ones, which sign beside them for a
while after a secret rotation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import insert, select, text, update

from service.kit.database.connection import Connection
from service.schema.subscribers import previous_signing_keys, subscribers
from service.subscribers.domain.subscriber import SubscriberType


@dataclass(frozen=True, slots=True)
class PreviousSigningKey:
    """A key of a subscriber, or of an account for its callback_urls; `secret` and `seed` are sealed
    for that owner. It signs until `expires_at`."""

    id: str
    owner_id: str
    secret: bytes = field(repr=False)
    seed: bytes | None = field(repr=False)
    public_key: bytes | None
    expires_at: datetime


_PREVIOUS_COLUMNS = (
    previous_signing_keys.c.id,
    previous_signing_keys.c.owner_id,
    previous_signing_keys.c.secret,
    previous_signing_keys.c.seed,
    previous_signing_keys.c.public_key,
    previous_signing_keys.c.expires_at,
)


async def previous_keys(tx: Connection, owner_id: str) -> list[PreviousSigningKey]:
    """The youngest first. They change only under a lock of their owner's row."""
    statement = select(*_PREVIOUS_COLUMNS).where(previous_signing_keys.c.owner_id == owner_id)
    rows = await tx.execute(statement.order_by(previous_signing_keys.c.id.desc()))
    return [PreviousSigningKey(*row) for row in rows]


async def add_previous(tx: Connection, retired: PreviousSigningKey) -> None:
    values = {column.name: getattr(retired, column.name) for column in _PREVIOUS_COLUMNS}
    await tx.execute(insert(previous_signing_keys).values(values))


_DELETE_PREVIOUS = text("DELETE FROM previous_signing_keys WHERE id = ANY (CAST(:ids AS text[]))")


async def delete_previous(tx: Connection, ids: Sequence[str]) -> None:
    await tx.execute(_DELETE_PREVIOUS, {"ids": ids})


async def delete_expired(tx: Connection, now: datetime) -> None:
    """Those whose time is over. A rotation that holds some is not waited for: it does the same."""
    await tx.execute(_DELETE_EXPIRED, {"now": now})


_DELETE_EXPIRED = text("""
    DELETE FROM previous_signing_keys WHERE id IN (
        SELECT id FROM previous_signing_keys WHERE expires_at <= :now FOR UPDATE SKIP LOCKED
    )
""")


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


async def replace(tx: Connection, subscriber_id: str, keys: SigningKeys) -> bool:
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


_PUBLIC_KEYS = text("""
    (SELECT public_key FROM subscribers
        WHERE public_key IS NOT NULL AND 'v1a' = ANY (signatures) ORDER BY id DESC LIMIT :most)
    UNION ALL
    (SELECT public_key FROM previous_signing_keys
        WHERE public_key IS NOT NULL AND expires_at > :now ORDER BY id DESC LIMIT :most)
""")


async def public_keys(tx: Connection, now: datetime, most: int) -> list[bytes]:
    """The public keys in force, those of the youngest subscribers first, then the retired ones, the
    youngest first: at most so many of either."""
    found = await tx.execute(_PUBLIC_KEYS, {"now": now, "most": most})
    return [row["public_key"] for row in found]


_PREVIOUS_PUBLIC_KEYS = text("""
    SELECT owner_id, public_key FROM previous_signing_keys
    WHERE owner_id = ANY (CAST(:ids AS text[])) AND expires_at > :now AND public_key IS NOT NULL
    ORDER BY id DESC
""")


async def previous_public_keys(
    tx: Connection, ids: Sequence[str], now: datetime
) -> dict[str, list[bytes]]:
    """The public keys of these subscribers that still sign though newer ones do, youngest first."""
    found: dict[str, list[bytes]] = {}
    for owner_id, public_key in await tx.execute(_PREVIOUS_PUBLIC_KEYS, {"ids": ids, "now": now}):
        found.setdefault(owner_id, []).append(public_key)
    return found
