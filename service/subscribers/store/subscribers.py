"""Subscribers: who hears of an account's events, and where. Those of type `callback`, which nobody
made, are not seen here.

Whoever waits for rows that others hold takes them in this order: subjects, deliveries, health,
subscribers; of each by their ids. Who needs them otherwise passes over what is held (SKIP LOCKED),
or holds nothing yet.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import FromClause, Select, delete, func, insert, select, text, update

from service.kit.database.connection import Connection, Row
from service.schema.accounts import accounts
from service.schema.deliveries import subscriber_health
from service.schema.subscribers import previous_signing_keys, subscribers
from service.subscribers.domain.subscriber import Format, Ordering, SubscriberState, SubscriberType


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One row of `subscribers`, and its limits. Bytes are sealed, but for the public key."""

    id: str
    account_id: str
    type: SubscriberType
    url: str
    channel: str | None
    credentials: bytes | None = field(repr=False)
    description: str
    event_types: tuple[str, ...] | None
    reference_types: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    headers: bytes | None = field(repr=False)
    timeout: float | None
    schedule: tuple[float, ...] | None
    ordering: Ordering
    format: Format
    signatures: tuple[str, ...]
    state: SubscriberState
    disabled_reason: str | None
    secret: bytes = field(repr=False)
    seed: bytes | None = field(repr=False)
    public_key: bytes | None
    version: int
    created_at: datetime
    concurrency: int | None
    max_rate: float | None


# As the index of every account's has it; lists of one account are to be served by another.
_VISIBLE = "subscribers.type IN ('webhook', 'nats', 'redis_stream')"
_COLUMNS = [one.name for one in fields(Subscriber) if one.name in subscribers.c]
_LIMITS = ("concurrency", "max_rate")


def _select(source: FromClause) -> Select[Any]:
    """What is read of these subscribers, with their limits."""
    columns = (
        *(source.c[name] for name in _COLUMNS),
        *(subscriber_health.c[name] for name in _LIMITS),
    )
    found = select(*columns).select_from(source)
    return found.outerjoin(subscriber_health, subscriber_health.c.subscriber_id == source.c.id)


_SELECT = _select(subscribers).where(text("subscribers.type <> 'callback'"))


async def add(tx: Connection, subscriber: Subscriber) -> None:
    values = {name: _to_driver(getattr(subscriber, name)) for name in _COLUMNS}
    await tx.execute(insert(subscribers).values(**values))
    limits = {name: getattr(subscriber, name) for name in _LIMITS}
    if any(limits.values()):
        await tx.execute(insert(subscriber_health).values(subscriber_id=subscriber.id, **limits))


async def get(tx: Connection, account_id: str, subscriber_id: str) -> Subscriber | None:
    statement = _SELECT.where(
        subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
    )
    row = await tx.first(statement)
    return None if row is None else _subscriber(row)


async def page(
    tx: Connection, account_id: str | None, *, below: str | None, limit: int
) -> list[Subscriber]:
    """Those of an account; None: of every account. The newest first; ids sort by age."""
    source: FromClause = subscribers
    if account_id is None:
        statement = _SELECT.where(text(_VISIBLE))
    else:  # read whole, or Postgres may walk through everybody's in the hope of meeting these
        whole = select(subscribers).where(
            subscribers.c.account_id == account_id, text("type <> 'callback'")
        )
        source = whole.cte("own").prefix_with("MATERIALIZED")
        statement = _select(source)
    if below is not None:
        statement = statement.where(source.c.id < below)
    statement = statement.order_by(source.c.id.desc()).limit(limit)
    return [_subscriber(row) for row in await tx.execute(statement)]


async def count_for_update(tx: Connection, account_id: str) -> int:
    """How many an account has; until this transaction ends, nobody else adds one."""
    account = select(accounts.c.id).where(accounts.c.id == account_id)
    await tx.execute(account.with_for_update(key_share=True))
    counted = (
        select(func.count())
        .select_from(subscribers)
        .where(subscribers.c.account_id == account_id, text("type <> 'callback'"))
    )
    return int(await tx.scalar(counted))


async def update_subscriber(tx: Connection, subscriber_id: str, values: dict[str, Any]) -> None:
    """Write these columns of its own, and raise its version."""
    plain = {name: _to_driver(value) for name, value in values.items()}
    await tx.execute(
        update(subscribers)
        .where(subscribers.c.id == subscriber_id)
        .values(**plain, version=subscribers.c.version + 1)
    )


async def lock_health(tx: Connection, subscriber_id: str) -> None:
    """Until this transaction ends, nobody else changes its health."""
    found = select(subscriber_health.c.subscriber_id).where(
        subscriber_health.c.subscriber_id == subscriber_id
    )
    await tx.execute(found.with_for_update())


# Whoever writes events has a transaction id before it looks for subscribers. So who has one above
# this statement's looks after it began, and finds the subscriber as it had been committed.
_START_AUDIT = text("""
    UPDATE subscribers SET audited_from_xid = pg_current_xact_id()
    WHERE id = :id AND version = :version AND state <> 'disabled' AND audited_from_xid IS NULL
""")


async def start_audit(tx: Connection, subscriber_id: str, version: int) -> None:
    """Note from where on it has heard all that it wants, unless that is known, or it has changed
    since this version. Call it in a transaction of its own, once the version is committed."""
    await tx.execute(_START_AUDIT, {"id": subscriber_id, "version": version})


async def update_health(tx: Connection, subscriber_id: str, values: dict[str, Any]) -> None:
    await tx.execute(
        update(subscriber_health)
        .where(subscriber_health.c.subscriber_id == subscriber_id)
        .values(**values)
    )


async def lock(tx: Connection, subscriber_id: str) -> None:
    """Until this transaction ends, nobody else changes or removes it."""
    found = select(subscribers.c.id).where(subscribers.c.id == subscriber_id)
    await tx.execute(found.with_for_update(key_share=True))


# Those that are just being recorded are left for the next time: so this never waits for anybody
# who may wait for it.
_DELETE_DELIVERIES = text("""
    WITH emptied AS (
        SELECT id FROM deliveries WHERE subscriber_id = :id
        ORDER BY created_at DESC, id DESC  -- what is left of a subject begins with its first
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM emptied)) RETURNING id
    ), forgotten AS (  -- should somebody have made it active meanwhile
        UPDATE subscribers SET audited_from_xid = NULL
        WHERE id = :id AND audited_from_xid IS NOT NULL
    )
    SELECT count(*) FROM gone
""")


async def delete_deliveries(tx: Connection, subscriber_id: str, limit: int) -> int:
    """Remove so many of its deliveries, whatever their state; how many there were."""
    return int(await tx.scalar(_DELETE_DELIVERIES, {"id": subscriber_id, "limit": limit}))


_LOCK_ONE_DELIVERY = text("SELECT id FROM deliveries WHERE subscriber_id = :id LIMIT 1 FOR UPDATE")


async def wait_for_recorders(tx: Connection, subscriber_id: str) -> bool:
    """Wait for whoever holds one of its deliveries; whether it had any. The caller holds nothing,
    so nobody waits for it meanwhile."""
    return await tx.first(_LOCK_ONE_DELIVERY, {"id": subscriber_id}) is not None


_LOCK_FOR_DELETE = text("SELECT id FROM subscribers WHERE id = :id FOR UPDATE")
_FIND_DELIVERY = text("SELECT id FROM deliveries WHERE subscriber_id = :id LIMIT 1")


async def delete_subscriber(tx: Connection, subscriber_id: str) -> bool:
    """Remove a subscriber with its health and its previous keys; whether it is gone: not while it
    has deliveries, as whoever records one may hold it and wait for its health."""
    values = {"id": subscriber_id}
    await lock_health(tx, subscriber_id)
    await tx.execute(
        _LOCK_FOR_DELETE, values
    )  # whoever was making deliveries for it has made them now
    if await tx.first(_FIND_DELIVERY, values) is not None:
        return False
    await tx.execute(delete(subscribers).where(subscribers.c.id == subscriber_id))
    await tx.execute(
        delete(previous_signing_keys).where(previous_signing_keys.c.owner_id == subscriber_id)
    )
    return True


_ENUMS = {
    "type": SubscriberType,
    "state": SubscriberState,
    "ordering": Ordering,
    "format": Format,
}


def _subscriber(row: Row) -> Subscriber:
    names = (*_COLUMNS, *_LIMITS)
    read: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in zip(names, row, strict=True)
    }
    words = {name: word(read[name]) for name, word in _ENUMS.items()}
    return Subscriber(**read | words)


def _to_driver(value: object) -> object:
    """As the driver takes it."""
    return list(value) if isinstance(value, tuple) else value
