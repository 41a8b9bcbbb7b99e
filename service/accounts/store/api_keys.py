"""The tables of accounts and of their API keys, which are stored as hashes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.schema.accounts import api_keys


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of an API key or a key pair, without its hash and its secret key."""

    id: str  # key_…
    prefix: str  # the first characters of the key, by which its owner recognizes it
    account_name: str  # of the account that it belongs to
    scopes: list[str]  # what it permits
    created_at: datetime  # by our clock
    expires_at: datetime | None  # None: it does not expire
    revoked_at: datetime | None  # None: it is not revoked
    last_used_at: datetime | None  # to the minute; None: it was never used
    name: str | None  # whose or what it is for; None: nobody said


_ENSURE_ACCOUNT = text("""
    INSERT INTO accounts (id, name, created_at) VALUES (:id, :name, :now)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name  -- or nothing would be returned
    RETURNING id
""")
_ACCOUNT_ID = text("SELECT id FROM accounts WHERE name = :name")


async def ensure_account(tx: Connection, *, account_id: str, name: str, now: datetime) -> str:
    """The id of the account of this name, which is created with `account_id` if there is none."""
    return str(await tx.scalar(_ENSURE_ACCOUNT, {"id": account_id, "name": name, "now": now}))


async def account_id_by_name(tx: Connection, name: str) -> str | None:
    """The id of the account of this name; None if there is none."""
    account_id: str | None = await tx.scalar(_ACCOUNT_ID, {"name": name})
    return account_id


async def add(  # noqa: PLR0913 - one row's worth
    tx: Connection,
    *,
    key_id: str,
    account_id: str,
    digest: bytes,
    prefix: str,
    scopes: list[str],
    now: datetime,
    expires_at: datetime | None,
    secret: bytes | None = None,
    name: str | None = None,
) -> None:
    """Write a key by its SHA-256 `digest`.

    Of a key pair, `digest` is that of the access key, and `secret` is the encrypted secret key.
    """
    await tx.execute(
        api_keys.insert().values(
            id=key_id,
            account_id=account_id,
            hash=digest,
            prefix=prefix,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            secret=secret,
            name=name,
        )
    )


_KEYS = """
    SELECT k.id, k.prefix, a.name, k.scopes, k.created_at, k.expires_at, k.revoked_at,
        k.last_used_at, k.name
    FROM api_keys k JOIN accounts a ON a.id = k.account_id
"""
_LIST = text(f"{_KEYS} ORDER BY k.created_at, k.id")
_LIST_OF_ACCOUNT = text(f"{_KEYS} WHERE a.name = :account ORDER BY k.created_at, k.id")
_GET = text(f"{_KEYS} WHERE k.id = :id")
_REVOKE = text("""
    UPDATE api_keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL
    RETURNING account_id
""")


async def list_keys(tx: Connection, account: str | None = None) -> list[ApiKey]:
    """All keys, revoked ones too, the oldest first; with `account`, those of that account."""
    if account is None:
        return [ApiKey(*row) for row in await tx.execute(_LIST)]
    return [ApiKey(*row) for row in await tx.execute(_LIST_OF_ACCOUNT, {"account": account})]


async def get(tx: Connection, key_id: str) -> ApiKey | None:
    """The key of this id; None if there is none."""
    row = await tx.first(_GET, {"id": key_id})
    return None if row is None else ApiKey(*row)


async def revoke(tx: Connection, key_id: str, now: datetime) -> str | None:
    """Revoke the key of this id, and give its account's id; None, and nothing is done, if there is
    none, or it is revoked already."""
    account_id: str | None = await tx.scalar(_REVOKE, {"id": key_id, "now": now})
    return account_id
