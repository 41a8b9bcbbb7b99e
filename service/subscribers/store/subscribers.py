"""Subscribers: where an account's events are sent, and which. The hidden subscribers of requests'
callback_urls (type `callback`) are not seen here.

Lock order. Whoever waits for rows that others hold takes them in this order, of each kind by ids:
a bulk operation, subjects, erasures, subscribers' health, subscribers, deliveries. Whoever needs
them otherwise passes over locked rows (SKIP LOCKED), or holds nothing yet.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import FromClause, Select, insert, select, text, update

from service.kit.database.connection import Connection, Row
from service.schema.deliveries import subscriber_health
from service.schema.subscribers import subscribers
from service.schema.transaction_ids import CURRENT, event_xid
from service.subscribers.domain.subscriber import Format, Ordering, SubscriberState, SubscriberType


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """A row of `subscribers`, and the limits from its row of `subscriber_health`. The default of a
    field is what it has where a request does not set it."""

    id: str  # sbr_…; sorts by age
    account_id: str  # of the account whose events it is sent
    type: SubscriberType  # how it is reached
    url: str  # a webhook's address, or a stream's server
    channel: str | None = None  # the subject of a NATS stream, the key of a Redis stream
    credentials: bytes | None = field(default=None, repr=False)  # of a stream's server, encrypted
    description: str = ""  # the account's own words, kept as they are
    event_types: tuple[str, ...] | None = None  # None: all
    reference_types: tuple[str, ...] | None = None  # None: all
    tags: tuple[str, ...] | None = None  # an event needs one of these; None: any or none
    headers: bytes | None = field(default=None, repr=False)  # custom headers, encrypted
    timeout: float | None = None  # seconds; None: as the setting says
    schedule: tuple[float, ...] | None = None  # seconds between attempts; None: as the setting says
    ordering: Ordering = Ordering.PER_SUBJECT  # in which order events are sent
    format: Format = Format.STANDARD  # in which format
    signatures: tuple[str, ...] = ("v1",)  # or v1 and v1a, as Standard Webhooks has them
    state: SubscriberState = SubscriberState.ACTIVE  # whether events are sent
    disabled_reason: str | None = None  # None unless the state is disabled
    secret: bytes = field(repr=False)  # encrypted; signs v1
    seed: bytes | None = field(default=None, repr=False)  # encrypted; None: v1a was never asked for
    public_key: bytes | None = None  # of the seed, 32 bytes
    version: int = 1  # raised with every change that a sender must know of
    created_at: datetime  # by our clock
    concurrency: int | None = None  # deliveries at a time; None: no limit of its own
    max_rate: float | None = None  # deliveries a second; None: no limit


# As the index ix_subscribers_made has it. Lists of one account have an index of their own.
_VISIBLE = "subscribers.type IN ('webhook', 'nats', 'redis_stream')"
_COLUMNS = [field_.name for field_ in fields(Subscriber) if field_.name in subscribers.c]
_LIMITS = ("concurrency", "max_rate")


def _select(source: FromClause) -> Select[Any]:
    """A query of subscribers from this table or subquery, with their limits."""
    columns = (
        *(source.c[name] for name in _COLUMNS),
        *(subscriber_health.c[name] for name in _LIMITS),
    )
    query = select(*columns).select_from(source)
    return query.outerjoin(subscriber_health, subscriber_health.c.subscriber_id == source.c.id)


_SELECT = _select(subscribers).where(text("subscribers.type <> 'callback'"))


async def add(tx: Connection, subscriber: Subscriber) -> None:
    """Write a new subscriber, and a row for its health if it has limits."""
    values = {name: _to_driver(getattr(subscriber, name)) for name in _COLUMNS}
    await tx.execute(insert(subscribers).values(**values))
    limits = {name: getattr(subscriber, name) for name in _LIMITS}
    if any(limits.values()):
        await tx.execute(insert(subscriber_health).values(subscriber_id=subscriber.id, **limits))


async def get(tx: Connection, account_id: str, subscriber_id: str) -> Subscriber | None:
    """An account's subscriber; None if it has none of this id."""
    statement = _SELECT.where(
        subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
    )
    row = await tx.first(statement)
    return None if row is None else _subscriber(row)


async def page(
    tx: Connection, account_id: str | None, *, after: str | None, limit: int
) -> list[Subscriber]:
    """At most `limit` subscribers of an account (None: of every account), the newest first, from
    behind the id `after` on (None: from the first). Ids sort by age."""
    source: FromClause = subscribers
    if account_id is None:
        statement = _SELECT.where(text(_VISIBLE))
    else:  # materialized, or Postgres may walk the primary key in the hope of meeting these
        of_account = select(subscribers).where(
            subscribers.c.account_id == account_id, text("type <> 'callback'")
        )
        source = of_account.cte("own").prefix_with("MATERIALIZED")
        statement = _select(source)
    if after is not None:
        statement = statement.where(source.c.id < after)
    statement = statement.order_by(source.c.id.desc()).limit(limit)
    return [_subscriber(row) for row in await tx.execute(statement)]


_LOCK_ACCOUNT = text("SELECT id FROM accounts WHERE id = :account_id FOR NO KEY UPDATE")
_COUNT = text("""
    SELECT count(*) FROM subscribers WHERE account_id = :account_id AND type <> 'callback'
""")


async def count_for_update(tx: Connection, account_id: str) -> int:
    """The number of an account's subscribers; until this transaction ends, nobody else adds one."""
    await tx.execute(_LOCK_ACCOUNT, {"account_id": account_id})
    return int(await tx.scalar(_COUNT, {"account_id": account_id}))


async def update_subscriber(tx: Connection, subscriber_id: str, values: dict[str, Any]) -> None:
    """Write these columns of a subscriber's row, and raise its version."""
    columns = {name: _to_driver(value) for name, value in values.items()}
    await tx.execute(
        update(subscribers)
        .where(subscribers.c.id == subscriber_id)
        .values(**columns, version=subscribers.c.version + 1)
    )


_LOCK = text("SELECT id FROM subscribers WHERE id = :id FOR NO KEY UPDATE")
_LOCK_HEALTH = text(
    "SELECT subscriber_id FROM subscriber_health WHERE subscriber_id = :id FOR UPDATE"
)


async def lock(tx: Connection, subscriber_id: str) -> None:
    """Lock a subscriber's row until this transaction ends."""
    await tx.execute(_LOCK, {"id": subscriber_id})


async def lock_health_row(tx: Connection, subscriber_id: str) -> None:
    """Lock the row of a subscriber's health until this transaction ends."""
    await tx.execute(_LOCK_HEALTH, {"id": subscriber_id})


# Whoever writes events may look for subscribers just before it has a transaction id. What looked
# before this version of the subscriber was committed shows in the horizon of its session.
_LOOKED_BEFORE = text("""
    SELECT EXISTS (
        SELECT FROM subscribers s JOIN pg_stat_activity a ON age(a.backend_xmin) >= age(s.xmin)
        WHERE s.id = :id AND s.version = :version AND s.state <> 'disabled'
        AND s.audited_from_xid IS NULL
        AND a.datname = current_database() AND a.backend_type = 'client backend'
        AND a.pid <> pg_backend_pid()
    )
""")
_START_AUDIT = text(f"""
    UPDATE subscribers SET audited_from_xid = {event_xid(CURRENT)}
    WHERE id = :id AND version = :version AND state <> 'disabled' AND audited_from_xid IS NULL
""")  # noqa: S608 - our own SQL


async def start_audit(tx: Connection, subscriber_id: str, version: int) -> bool:
    """From now on the audit holds every event to this subscriber's filters, unless it does already,
    or the subscriber has changed since this version. False, and nothing is written, as long as a
    statement runs that may not know of this version, and yet write an event later.

    Call it outside any transaction, once the version is committed.
    """
    values = {"id": subscriber_id, "version": version}
    if await tx.scalar(_LOOKED_BEFORE, values):
        return False
    await tx.execute(_START_AUDIT, values)
    return True


async def update_health(tx: Connection, subscriber_id: str, values: dict[str, Any]) -> None:
    """Write these columns of a subscriber's health."""
    await tx.execute(
        update(subscriber_health)
        .where(subscriber_health.c.subscriber_id == subscriber_id)
        .values(**values)
    )


# Deliveries whose attempts are being recorded are left for the next time: so this never waits for
# anybody who may wait for it.
_DELETE_DELIVERIES = text("""
    WITH batch AS (
        SELECT id FROM deliveries WHERE subscriber_id = :id
        ORDER BY created_at DESC, id DESC  -- so that a subject keeps its first events the longest
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM batch)) RETURNING id
    ), unaudited AS (  -- should somebody have made it active meanwhile
        UPDATE subscribers SET audited_from_xid = NULL
        WHERE id = :id AND audited_from_xid IS NOT NULL
    )
    SELECT count(*) FROM deleted
""")


async def delete_deliveries(tx: Connection, subscriber_id: str, limit: int) -> int:
    """Delete at most `limit` of a subscriber's deliveries, whatever their state; how many were."""
    return int(await tx.scalar(_DELETE_DELIVERIES, {"id": subscriber_id, "limit": limit}))


_LOCK_ONE_DELIVERY = text("SELECT id FROM deliveries WHERE subscriber_id = :id LIMIT 1 FOR UPDATE")


async def wait_for_recorders(tx: Connection, subscriber_id: str) -> bool:
    """Wait for whoever records an attempt of one of a subscriber's deliveries; whether it has any.
    The caller holds no lock, so nobody waits for it meanwhile."""
    return await tx.first(_LOCK_ONE_DELIVERY, {"id": subscriber_id}) is not None


_LOCK_FOR_DELETE = text("SELECT id FROM subscribers WHERE id = :id FOR UPDATE")
_FIND_DELIVERY = text("SELECT id FROM deliveries WHERE subscriber_id = :id LIMIT 1")
_DELETE = text("DELETE FROM subscribers WHERE id = :id")
_DELETE_PREVIOUS_KEYS = text("DELETE FROM previous_signing_keys WHERE owner_id = :id")


async def delete_subscriber(tx: Connection, subscriber_id: str) -> bool:
    """Delete a subscriber with its health and its previous signing keys, unless it has deliveries;
    whether it was deleted. Its health is locked first, as the lock order has it."""
    values = {"id": subscriber_id}
    await lock_health_row(tx, subscriber_id)
    await tx.execute(_LOCK_FOR_DELETE, values)  # waits for whoever is adding deliveries
    if await tx.first(_FIND_DELIVERY, values) is not None:
        return False
    await tx.execute(_DELETE, values)
    await tx.execute(_DELETE_PREVIOUS_KEYS, values)
    return True


_ENUMS = {"type": SubscriberType, "state": SubscriberState, "ordering": Ordering, "format": Format}


def _subscriber(row: Row) -> Subscriber:
    names = (*_COLUMNS, *_LIMITS)
    read: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in zip(names, row, strict=True)
    }
    return Subscriber(**read | {name: enum(read[name]) for name, enum in _ENUMS.items()})


def _to_driver(value: object) -> object:
    """A field's value as the driver takes it."""
    return list(value) if isinstance(value, tuple) else value
