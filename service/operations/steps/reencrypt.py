"""Encryption key rotation: encrypts all stored secrets anew under the present SECRET_KEY.

So a key is changed with nothing refused: put the new one into every process's PREVIOUS_SECRET_KEYS;
then make it their SECRET_KEY and the earlier one their PREVIOUS_SECRET_KEYS; reencrypt; drop the
earlier one when no callback address made with it is with the provider any more. Where all processes
stop and start together, the first of these may be left out. What is derived and cannot be made
anew, rejected callbacks of sources with a shared secret, can be verified again until then, not
later.
"""

from dataclasses import dataclass, field

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.callbacks.steps import webhook_secrets
from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.database.connection import Connection
from service.operations.store import encrypted_columns
from service.operations.store.encrypted_columns import (
    ALL,
    WEBHOOK_SECRETS,
    EncryptedColumns,
    Row,
)
from service.resources import Resources

BATCH = 50  # rows held at once, for some milliseconds
# Columns whose name is not in their encryption context: an owner has one of them.
WITHOUT_PURPOSE = frozenset({"secret", "callback_url_secret"})


@dataclass(slots=True)
class ReencryptionReport:
    """What a run has done."""

    reencrypted: int = 0  # how many values were encrypted anew
    # Column, table and id of each value that no key known here decrypts.
    undecryptable: list[str] = field(default_factory=list)


async def reencrypt(resources: Resources, *, actor: Actor | None = None) -> ReencryptionReport:
    """Encrypt anew what an earlier key encrypted, in small transactions, while everything runs;
    safe to run again, also after it was interrupted. Every process must know the present key
    before, since only that key decrypts the new values. `actor`: who
    runs it, which the action log has from the beginning."""
    await action_log.record_alone(resources, actor, Action(ActionKind.SECRETS_REENCRYPTED))
    report = ReencryptionReport()
    for columns in ALL:
        after: str | None = ""
        while after is not None:
            after = await _batch(resources, columns, after, report)
    return report


async def _batch(
    resources: Resources, columns: EncryptedColumns, after: str, report: ReencryptionReport
) -> str | None:
    """Encrypt a batch anew; the id after which the next batch begins, None if this is the last."""
    reencrypted, undecryptable = 0, list[str]()
    async with resources.database.transaction() as tx:
        rows = await encrypted_columns.page(tx, columns, after, BATCH)
        for row in rows:
            changed, failed = _reencrypted(resources, columns, row)
            if changed:
                await encrypted_columns.update_row(tx, columns, row.id, changed)
            if changed and columns is WEBHOOK_SECRETS:
                await _update_fingerprint(tx, resources, row)
            reencrypted += len(changed)
            undecryptable += [f"{name} of {columns.table.name} {row.id}" for name in failed]
    report.reencrypted += reencrypted
    report.undecryptable += undecryptable
    return rows[-1].id if len(rows) == BATCH else None


def _reencrypted(
    resources: Resources, columns: EncryptedColumns, row: Row
) -> tuple[dict[str, bytes], list[str]]:
    """The new values that differ, by column; and the columns that cannot be decrypted."""
    changed, failed = {}, []
    for name, value in row.values.items():
        try:
            new = resources.encryptor.reencrypt(value, _context(resources, columns, row, name))
        except DecryptionError:
            failed.append(name)
            continue
        if new is not None:
            changed[name] = new
    return changed, failed


def _context(resources: Resources, columns: EncryptedColumns, row: Row, column: str) -> str:
    if columns is WEBHOOK_SECRETS:
        return resources.webhook_secrets.encryption_context(row.owner, row.id)
    return encryption_context(row.owner, "" if column in WITHOUT_PURPOSE else column)


async def _update_fingerprint(tx: Connection, resources: Resources, row: Row) -> None:
    """Compute a webhook secret's fingerprint under the present SECRET_KEY: under another one, the
    same secret could be added twice."""
    context = _context(resources, WEBHOOK_SECRETS, row, "secret")
    key = resources.encryptor.decrypt(row.values["secret"], context)
    await encrypted_columns.set_fingerprint(tx, row, webhook_secrets.fingerprint(resources, key))
