"""All that is kept sealed, table by table, to be sealed anew where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Table, delete, select, true, update

from service.kit.database.connection import Connection
from service.schema.accounts import accounts, api_keys
from service.schema.callbacks import webhook_secrets
from service.schema.subscribers import previous_signing_keys, subscribers
from service.subscribers.domain.subscriber import SubscriberType


@dataclass(frozen=True, slots=True, eq=False)
class EncryptedColumns:
    """A table's sealed columns, and the column that says whom they are sealed for."""

    table: Table
    owner: str
    columns: tuple[str, ...]
    where: ColumnElement[bool] = field(default_factory=true)


@dataclass(frozen=True, slots=True)
class Row:
    """One row's sealed values by their columns; those that are null are left out."""

    id: str
    owner: str
    values: Mapping[str, bytes] = field(repr=False)


WEBHOOK_SECRETS = EncryptedColumns(webhook_secrets, "source", ("secret",))
# The retired ones last: a key that is retired meanwhile goes from a row above, which is held then,
# to the end of theirs, and is met at the one or at the other.
SHELVES = (
    WEBHOOK_SECRETS,
    EncryptedColumns(
        subscribers,
        "id",
        ("secret", "seed", "headers", "credentials"),
        subscribers.c.type != SubscriberType.CALLBACK,  # the account's secret signs for these
    ),
    EncryptedColumns(accounts, "id", ("callback_url_secret",)),
    EncryptedColumns(api_keys, "id", ("secret",), api_keys.c.secret.is_not(None)),
    EncryptedColumns(previous_signing_keys, "owner_id", ("secret", "seed")),
)


async def page(tx: Connection, shelf: EncryptedColumns, after: str, limit: int) -> list[Row]:
    """The next rows by id, held until this transaction ends."""
    table = shelf.table.c
    wanted = [table[name] for name in shelf.columns]
    statement = (
        select(table.id, table[shelf.owner].label("owner"), *wanted)
        .where(table.id > after, shelf.where)
        .order_by(table.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    found = []
    for id_, owner, *sealed in await tx.execute(statement):
        named = zip(shelf.columns, sealed, strict=True)
        found.append(Row(id_, owner, {name: one for name, one in named if one is not None}))
    return found


async def put(
    tx: Connection, shelf: EncryptedColumns, id_: str, values: Mapping[str, bytes]
) -> None:
    """The caller holds the row. What is sealed stays the same, so whoever has opened it need not
    hear of this: no version is raised."""
    await tx.execute(update(shelf.table).where(shelf.table.c.id == id_).values(dict(values)))


async def mark(tx: Connection, row: Row, fingerprint: str) -> None:
    """Give a webhook secret its fingerprint under another key. Where a process that did not know
    of it yet has added the same secret once more, that one goes."""
    secret = webhook_secrets.c
    twin = (secret.source == row.owner, secret.fingerprint == fingerprint, secret.id != row.id)
    await tx.execute(delete(webhook_secrets).where(*twin))
    marked = update(webhook_secrets).where(secret.id == row.id).values(fingerprint=fingerprint)
    await tx.execute(marked)
