"""The tables of accounts and of their API keys, which are stored as hashes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.kit.database.connection import Connection
from service.schema.accounts import accounts, api_keys


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


async def ensure_account(tx: Connection, *, account_id: str, name: str, now: datetime) -> str:
    """The id of the account of this name, which is created with `account_id` if there is none."""
    statement = (
        upsert(accounts)
        .values(id=account_id, name=name, created_at=now)
        .on_conflict_do_update(index_elements=["name"], set_={"name": name})  # else nothing returns
        .returning(accounts.c.id)
    )
    return str(await tx.scalar(statement))


async def account_id_by_name(tx: Connection, name: str) -> str | None:
    """The id of the account of this name; None if there is none."""
    statement = select(accounts.c.id).where(accounts.c.name == name)
    id_: str | None = await tx.scalar(statement)
    return id_


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
        )
    )


_KEYS = select(
    api_keys.c.id,
    api_keys.c.prefix,
    accounts.c.name,
    api_keys.c.scopes,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    api_keys.c.last_used_at,
).join(accounts, accounts.c.id == api_keys.c.account_id)


async def list_keys(tx: Connection, account: str | None = None) -> list[ApiKey]:
    """All keys, revoked ones too, the oldest first; with `account`, those of that account."""
    statement = _KEYS.order_by(api_keys.c.created_at, api_keys.c.id)
    if account is not None:
        statement = statement.where(accounts.c.name == account)
    return [ApiKey(*row) for row in await tx.execute(statement)]


async def get(tx: Connection, key_id: str) -> ApiKey | None:
    """The key of this id; None if there is none."""
    row = await tx.first(_KEYS.where(api_keys.c.id == key_id))
    return None if row is None else ApiKey(*row)


async def revoke(tx: Connection, key_id: str, now: datetime) -> None:
    """Revoke the key of this id; one that is revoked already keeps its time."""
    not_revoked = api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
    await tx.execute(update(api_keys).where(*not_revoked).values(revoked_at=now))
