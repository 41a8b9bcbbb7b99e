"""Signing keys of deliveries: those in force, and previous ones, which sign beside them for a
while after a secret rotation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What one owner's deliveries are signed with. The owner is a subscriber, or an account that
    signs for its callback_urls."""

    secret: bytes = field(repr=False)  # encrypted; signs v1
    seed: bytes | None = field(repr=False)  # encrypted; signs v1a; None: v1a was never asked for
    public_key: bytes | None  # of the seed, 32 bytes


@dataclass(frozen=True, slots=True)
class PreviousSigningKey:
    """Keys that a rotation has replaced, and that sign beside the new ones for a while."""

    id: str  # key_…; sorts by age
    owner_id: str  # the id of a subscriber or of an account
    keys: SigningKeys  # encrypted for that owner still
    expires_at: datetime  # until when they sign


_LOCK = text("""
    SELECT secret, seed, public_key FROM subscribers
    WHERE account_id = :account_id AND id = :id AND type <> 'callback' FOR NO KEY UPDATE
""")
_REPLACE = text("""
    UPDATE subscribers
    SET secret = :secret, seed = :seed, public_key = :public_key, version = version + 1
    WHERE id = :id RETURNING signatures
""")


async def lock(tx: Connection, account_id: str, subscriber_id: str) -> SigningKeys | None:
    """Lock a subscriber's row until this transaction ends, and give its keys.

    None if the account has no such subscriber. The hidden ones of callback_urls do not count: their
    account signs for them.
    """
    row = await tx.first(_LOCK, {"account_id": account_id, "id": subscriber_id})
    return None if row is None else SigningKeys(*row)


async def replace(tx: Connection, subscriber_id: str, keys: SigningKeys) -> bool:
    """Put other keys in force for a subscriber, whose row is locked; whether it is sent v1a
    signatures."""
    values = {"id": subscriber_id, "secret": keys.secret, "seed": keys.seed}
    return "v1a" in await tx.scalar(_REPLACE, values | {"public_key": keys.public_key})


_PREVIOUS_KEYS = text("""
    SELECT id, owner_id, secret, seed, public_key, expires_at FROM previous_signing_keys
    WHERE owner_id = :owner_id ORDER BY id DESC
""")


async def previous_keys(tx: Connection, owner_id: str) -> list[PreviousSigningKey]:
    """The previous keys of a subscriber or account, the newest first, expired ones too. They change
    only while their owner's row is locked."""
    return [
        PreviousSigningKey(row[0], row[1], SigningKeys(row[2], row[3], row[4]), row[5])
        for row in await tx.execute(_PREVIOUS_KEYS, {"owner_id": owner_id})
    ]


_ADD_PREVIOUS = text("""
    INSERT INTO previous_signing_keys (id, owner_id, secret, seed, public_key, expires_at)
    VALUES (:id, :owner_id, :secret, :seed, :public_key, :expires_at)
""")


async def add_previous(tx: Connection, previous: PreviousSigningKey) -> None:
    """Write keys that a rotation replaces."""
    values = {
        "id": previous.id,
        "owner_id": previous.owner_id,
        "secret": previous.keys.secret,
        "seed": previous.keys.seed,
        "public_key": previous.keys.public_key,
        "expires_at": previous.expires_at,
    }
    await tx.execute(_ADD_PREVIOUS, values)


_DELETE_PREVIOUS = text("DELETE FROM previous_signing_keys WHERE id = ANY (CAST(:ids AS text[]))")


async def delete_previous(tx: Connection, ids: Sequence[str]) -> None:
    """Delete previous keys by their ids."""
    await tx.execute(_DELETE_PREVIOUS, {"ids": ids})


_DELETE_EXPIRED = text("""
    DELETE FROM previous_signing_keys WHERE id IN (
        SELECT id FROM previous_signing_keys WHERE expires_at <= :now FOR UPDATE SKIP LOCKED
    )
    RETURNING id
""")


async def delete_expired(tx: Connection, now: datetime) -> int:
    """Delete previous keys that sign no more; how many. Rows that a rotation has locked are passed
    over: it deletes them itself."""
    return len(await tx.execute(_DELETE_EXPIRED, {"now": now}))


_PUBLIC_KEYS = text("""
    (SELECT public_key FROM subscribers
        WHERE public_key IS NOT NULL AND 'v1a' = ANY (signatures) ORDER BY id DESC LIMIT :limit)
    UNION ALL
    (SELECT public_key FROM previous_signing_keys
        WHERE public_key IS NOT NULL AND expires_at > :now ORDER BY id DESC LIMIT :limit)
""")


async def public_keys(tx: Connection, now: datetime, limit: int) -> list[bytes]:
    """The public keys in force of all subscribers, then the previous ones that still sign: of
    either the newest, at most `limit`."""
    return [row[0] for row in await tx.execute(_PUBLIC_KEYS, {"now": now, "limit": limit})]


_PREVIOUS_PUBLIC_KEYS = text("""
    SELECT owner_id, public_key FROM previous_signing_keys
    WHERE owner_id = ANY (CAST(:ids AS text[])) AND expires_at > :now AND public_key IS NOT NULL
    ORDER BY id DESC
""")


async def previous_public_keys(
    tx: Connection, subscriber_ids: Sequence[str], now: datetime
) -> dict[str, list[bytes]]:
    """The previous public keys that still sign, by the subscriber's id, the newest first."""
    public_keys_by_id: dict[str, list[bytes]] = {}
    values = {"ids": subscriber_ids, "now": now}
    for subscriber_id, public_key in await tx.execute(_PREVIOUS_PUBLIC_KEYS, values):
        public_keys_by_id.setdefault(subscriber_id, []).append(public_key)
    return public_keys_by_id
