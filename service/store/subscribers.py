"""Subscribers: who hears of an account's events, and where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from service.store.database import Transaction
from service.store.outgoing import subscribers


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One row of `subscribers`. `secret` is sealed; `event_types` None means all."""

    id: str
    account_id: str
    url: str
    description: str
    event_types: tuple[str, ...] | None
    state: str
    disabled_reason: str | None
    secret: bytes
    created_at: datetime


COLUMNS = (
    subscribers.c.id,
    subscribers.c.account_id,
    subscribers.c.url,
    subscribers.c.description,
    subscribers.c.event_types,
    subscribers.c.state,
    subscribers.c.disabled_reason,
    subscribers.c.secret,
    subscribers.c.created_at,
)


async def add(tx: Transaction, subscriber: Subscriber) -> None:
    types = subscriber.event_types
    values = {column.name: getattr(subscriber, column.name) for column in COLUMNS}
    values["event_types"] = None if types is None else list(types)
    await tx.execute(insert(subscribers).values(**values))


async def get(tx: Transaction, account_id: str, subscriber_id: str) -> Subscriber | None:
    statement = select(*COLUMNS).where(
        subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
    )
    row = (await tx.execute(statement)).first()
    return None if row is None else _subscriber(row)


async def page(
    tx: Transaction, account_id: str, *, below: str | None, limit: int
) -> list[Subscriber]:
    """The newest first; ids sort by age."""
    statement = select(*COLUMNS).where(subscribers.c.account_id == account_id)
    if below is not None:
        statement = statement.where(subscribers.c.id < below)
    statement = statement.order_by(subscribers.c.id.desc()).limit(limit)
    return [_subscriber(row) for row in await tx.execute(statement)]


async def remove(tx: Transaction, account_id: str, subscriber_id: str) -> None:
    """Its deliveries go with it."""
    await tx.execute(
        delete(subscribers).where(
            subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
        )
    )


async def hold(tx: Transaction, subscriber_id: str) -> None:
    """Until this transaction ends, nobody else disables or removes it."""
    found = select(subscribers.c.id).where(subscribers.c.id == subscriber_id)
    await tx.execute(found.with_for_update(key_share=True))


async def disable(tx: Transaction, subscriber_id: str, reason: str) -> None:
    await tx.execute(
        update(subscribers)
        .where(subscribers.c.id == subscriber_id, subscribers.c.state == "active")
        .values(state="disabled", disabled_reason=reason)
    )


def _subscriber(row: Row[*tuple[Any, ...]]) -> Subscriber:
    fields = dict(zip((column.name for column in COLUMNS), row, strict=True))
    types = fields["event_types"]
    return Subscriber(**fields | {"event_types": None if types is None else tuple(types)})
