"""Accounts and their keys. A key is kept as its hash only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.store.database import Transaction
from service.store.tables import accounts, api_keys

USED_STEP = timedelta(minutes=1)  # last_used_at moves in steps: no write on every request


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a key belongs to, and what it opens."""

    key_id: str
    account_id: str
    account_name: str
    scopes: frozenset[str]


async def ensure(tx: Transaction, *, account_id: str, name: str, now: datetime) -> str:
    """The id of the account of this name, made with `account_id` if there is none."""
    made = (
        upsert(accounts)
        .values(id=account_id, name=name, created_at=now)
        .on_conflict_do_update(index_elements=["name"], set_={"name": name})  # else nothing returns
        .returning(accounts.c.id)
    )
    return str((await tx.execute(made)).scalar_one())


async def by_name(tx: Transaction, name: str) -> str | None:
    statement = select(accounts.c.id).where(accounts.c.name == name)
    return (await tx.execute(statement)).scalar_one_or_none()


async def add_key(  # noqa: PLR0913 - one row's worth
    tx: Transaction,
    *,
    key_id: str,
    account_id: str,
    digest: bytes,
    prefix: str,
    scopes: list[str],
    now: datetime,
) -> None:
    await tx.execute(
        api_keys.insert().values(
            id=key_id,
            account_id=account_id,
            hash=digest,
            prefix=prefix,
            scopes=scopes,
            created_at=now,
        )
    )


_BY_KEY = (
    select(
        api_keys.c.id,
        accounts.c.id,
        accounts.c.name,
        api_keys.c.scopes,
        api_keys.c.last_used_at,
    )
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(
        api_keys.c.hash == bindparam("digest"),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("now")),
    )
)


async def by_key(tx: Transaction, digest: bytes, now: datetime) -> Caller | None:
    """Whose key this is, if it is neither revoked nor expired."""
    row = (await tx.execute(_BY_KEY, {"digest": digest, "now": now})).first()
    if row is None:
        return None
    key_id, account_id, name, scopes, last_used_at = row
    if last_used_at is None or last_used_at < now - USED_STEP:
        await tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now))
    return Caller(key_id, account_id, name, frozenset(scopes))


async def callback_secret(tx: Transaction, account_id: str, *, hold: bool = False) -> bytes | None:
    """What signs for the account's callback_urls, sealed; None as long as nothing was. With `hold`
    nobody else changes it until this transaction ends."""
    statement = select(accounts.c.callback_secret).where(accounts.c.id == account_id)
    if hold:
        statement = statement.with_for_update(key_share=True)
    sealed: bytes | None = (await tx.execute(statement)).scalar_one()
    return sealed


async def give_callback_secret(tx: Transaction, account_id: str, sealed: bytes) -> bytes:
    """Unless it has one; the one it has then. Of several at once the first wins: the others wait
    until it is decided."""
    given = (
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(callback_secret=func.coalesce(accounts.c.callback_secret, sealed))
        .returning(accounts.c.callback_secret)
    )
    kept: bytes = (await tx.execute(given)).scalar_one()
    return kept


async def set_callback_secret(tx: Transaction, account_id: str, sealed: bytes) -> None:
    """The caller holds it. Those who keep an opened copy for its callback_urls read it anew."""
    own = accounts.c.id == account_id
    await tx.execute(update(accounts).where(own).values(callback_secret=sealed))
    await tx.execute(_RAISE_VERSIONS, {"account_id": account_id})


_RAISE_VERSIONS = text("""
    UPDATE subscribers SET version = version + 1 WHERE id IN (
        SELECT id FROM subscribers WHERE account_id = :account_id AND type = 'callback'
        ORDER BY id FOR NO KEY UPDATE
    )
""")
