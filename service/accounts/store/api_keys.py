"""Accounts and their keys. A key is kept as its hash only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.kit.database.connection import Connection
from service.schema.accounts import accounts, api_keys


@dataclass(frozen=True, slots=True)
class ApiKey:
    """As far as it is kept; `prefix` is what it begins with, `account` its account's name."""

    id: str
    prefix: str
    account_name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


async def ensure_account(tx: Connection, *, account_id: str, name: str, now: datetime) -> str:
    """The id of the account of this name, made with `account_id` if there is none."""
    made = (
        upsert(accounts)
        .values(id=account_id, name=name, created_at=now)
        .on_conflict_do_update(index_elements=["name"], set_={"name": name})  # else nothing returns
        .returning(accounts.c.id)
    )
    return str(await tx.scalar(made))


async def account_id_by_name(tx: Connection, name: str) -> str | None:
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
    """`secret` is the sealed secret key of a pair: then `digest` is of its access key."""
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
    """Every key that there ever was, the oldest first; or those of the account of this name."""
    statement = _KEYS.order_by(api_keys.c.created_at, api_keys.c.id)
    if account is not None:
        statement = statement.where(accounts.c.name == account)
    return [ApiKey(*row) for row in await tx.execute(statement)]


async def get(tx: Connection, key_id: str) -> ApiKey | None:
    row = await tx.first(_KEYS.where(api_keys.c.id == key_id))
    return None if row is None else ApiKey(*row)


async def revoke(tx: Connection, key_id: str, now: datetime) -> None:
    """From now on it opens nothing. One that was revoked before keeps its time."""
    own = api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
    await tx.execute(update(api_keys).where(*own).values(revoked_at=now))
