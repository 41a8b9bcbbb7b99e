"""After a change of SECRET_KEY: all that an earlier one sealed is sealed under the present one.

So a key is changed with nothing refused: put the new one into every process's PREVIOUS_SECRET_KEYS;
then make it their SECRET_KEY and the earlier one their PREVIOUS_SECRET_KEYS; reencrypt; drop the
earlier one when no callback address made with it is with the provider any more. Where all processes
stop and start together, the first of these may be left out. What is derived and cannot be made
anew, rejected callbacks of sources with a shared secret, can be verified again until then, not
later.
"""

from dataclasses import dataclass, field

from service.callbacks.steps import webhook_secrets
from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.database.connection import Connection
from service.operations.store import encrypted_columns
from service.operations.store.encrypted_columns import (
    SHELVES,
    WEBHOOK_SECRETS,
    EncryptedColumns,
    Row,
)
from service.resources import Resources

BATCH = 50  # rows held at once, for some milliseconds
WHOLE = frozenset({"secret", "callback_url_secret"})  # columns whose name is not in what binds them


@dataclass(slots=True)
class Reencrypted:
    """How many values were sealed anew, and each column and row that no key known here opens."""

    anew: int = 0
    unopened: list[str] = field(default_factory=list)


async def reencrypt(resources: Resources) -> Reencrypted:
    """All there is, in small transactions while everything runs; safe to run again, also after it
    broke off. Every process must know the present key: what is sealed anew opens under it alone."""
    done = Reencrypted()
    for shelf in SHELVES:
        after: str | None = ""
        while after is not None:
            after = await _batch(resources, shelf, after, done)
    return done


async def _batch(
    resources: Resources, shelf: EncryptedColumns, after: str, done: Reencrypted
) -> str | None:
    """The id that the next batch begins after; None if there is none."""
    anew, unopened = 0, list[str]()
    async with resources.database.transaction() as tx:
        rows = await encrypted_columns.page(tx, shelf, after, BATCH)
        for row in rows:
            changed, lost = _sealed_anew(resources, shelf, row)
            if changed:
                await encrypted_columns.put(tx, shelf, row.id, changed)
            if changed and shelf is WEBHOOK_SECRETS:
                await _mark(tx, resources, row)
            anew += len(changed)
            unopened += [f"{name} of {shelf.table.name} {row.id}" for name in lost]
    done.anew += anew
    done.unopened += unopened
    return rows[-1].id if len(rows) == BATCH else None


def _sealed_anew(
    resources: Resources, shelf: EncryptedColumns, row: Row
) -> tuple[dict[str, bytes], list[str]]:
    """What changes, by column; and the columns that cannot be opened."""
    changed, lost = {}, []
    for name, value in row.values.items():
        try:
            anew = resources.encryptor.reencrypt(value, _bound_to(resources, shelf, row, name))
        except DecryptionError:
            lost.append(name)
            continue
        if anew is not None:
            changed[name] = anew
    return changed, lost


def _bound_to(resources: Resources, shelf: EncryptedColumns, row: Row, column: str) -> str:
    if shelf is WEBHOOK_SECRETS:
        return resources.webhook_secrets.encryption_context(row.owner, row.id)
    return encryption_context(row.owner, "" if column in WHOLE else column)


async def _mark(tx: Connection, resources: Resources, row: Row) -> None:
    """Its fingerprint is by SECRET_KEY too: by another, the same secret could be added twice."""
    bound = _bound_to(resources, WEBHOOK_SECRETS, row, "secret")
    key = resources.encryptor.decrypt(row.values["secret"], bound)
    await encrypted_columns.mark(tx, row, webhook_secrets.fingerprint(resources, key))
