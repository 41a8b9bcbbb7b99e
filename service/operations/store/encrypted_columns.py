"""All columns that are encrypted at rest, table by table, read and written for key rotation."""

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
    """The encrypted columns of one table."""

    table: Table  # the table they are in
    owner: str  # the column with the owner's id, to which the values are bound
    columns: tuple[str, ...]  # the names of the encrypted columns
    where: ColumnElement[bool] = field(default_factory=true)  # the rows that have such values


@dataclass(frozen=True, slots=True)
class Row:
    """The encrypted values of one row."""

    id: str  # its primary key
    owner: str  # the id of whom the values are encrypted for
    values: Mapping[str, bytes] = field(repr=False)  # by column; null ones are left out


WEBHOOK_SECRETS = EncryptedColumns(webhook_secrets, "source", ("secret",))
# Previous signing keys come last: a key that is rotated meanwhile moves from a row above, which is
# locked then, to the end of that table, and is met in one of the two places.
ALL = (
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


async def page(tx: Connection, columns: EncryptedColumns, after: str, limit: int) -> list[Row]:
    """At most `limit` rows, in the order of their ids, behind the id `after` (empty: from the first
    on), locked until this transaction ends."""
    table = columns.table.c
    values = [table[name] for name in columns.columns]
    statement = (
        select(table.id, table[columns.owner].label("owner"), *values)
        .where(table.id > after, columns.where)
        .order_by(table.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    rows = []
    for id_, owner, *encrypted in await tx.execute(statement):
        by_column = dict(zip(columns.columns, encrypted, strict=True))
        present = {name: value for name, value in by_column.items() if value is not None}
        rows.append(Row(id_, owner, present))
    return rows


async def update_row(
    tx: Connection, columns: EncryptedColumns, id_: str, values: Mapping[str, bytes]
) -> None:
    """Write new encrypted values to a row that the caller has locked. What they decrypt to is the
    same, so no version is raised: processes that have decrypted it need not read it again."""
    await tx.execute(update(columns.table).where(columns.table.c.id == id_).values(dict(values)))


async def set_fingerprint(tx: Connection, row: Row, fingerprint: str) -> None:
    """Give a webhook secret its fingerprint under another key. Where a process that did not know
    of it yet has added the same secret once more, that one goes."""
    secret = webhook_secrets.c
    duplicate = (secret.source == row.owner, secret.fingerprint == fingerprint, secret.id != row.id)
    await tx.execute(delete(webhook_secrets).where(*duplicate))
    statement = update(webhook_secrets).where(secret.id == row.id)
    await tx.execute(statement.values(fingerprint=fingerprint))
