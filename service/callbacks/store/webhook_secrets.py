"""The callback secrets that were added while we run. Their version is raised with every change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.kit.database.connection import Connection
from service.schema.callbacks import webhook_secrets
from service.schema.provider import provider_state


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """One of a source's secrets; `secret` is sealed, `fingerprint` tells it from others."""

    id: str
    source: str
    fingerprint: str
    secret: bytes = field(repr=False)
    created_at: datetime


_COLUMNS = (
    webhook_secrets.c.id,
    webhook_secrets.c.source,
    webhook_secrets.c.fingerprint,
    webhook_secrets.c.secret,
    webhook_secrets.c.created_at,
)
# One statement, so that the version is that of these very secrets.
_CURRENT = text("""
    SELECT p.secrets_version, s.id, s.source, s.fingerprint, s.secret, s.created_at
    FROM provider_state p LEFT JOIN webhook_secrets s ON true WHERE p.id = 1
    ORDER BY s.created_at, s.id
""")


async def current(tx: Connection) -> tuple[int, list[WebhookSecret]]:
    """The secrets in force, oldest first, and the version that they are."""
    rows = await tx.execute(_CURRENT)
    return rows[0][0], [WebhookSecret(*row[1:]) for row in rows if row[1] is not None]


async def add(tx: Connection, secret: WebhookSecret) -> bool:
    """False, and nothing written, if the source has it already."""
    values = {column.name: getattr(secret, column.name) for column in _COLUMNS}
    statement = (
        upsert(webhook_secrets)
        .values(values)
        .on_conflict_do_nothing(index_elements=["source", "fingerprint"])
        .returning(webhook_secrets.c.id)
    )
    added = await tx.first(statement) is not None
    if added:
        await _raise_version(tx)
    return added


_REMOVE = text("DELETE FROM webhook_secrets WHERE id = ANY (CAST(:ids AS text[])) RETURNING id")


async def remove(tx: Connection, secret_ids: Sequence[str]) -> int:
    """How many there were."""
    removed = len(await tx.execute(_REMOVE, {"ids": secret_ids}))
    if removed:
        await _raise_version(tx)
    return removed


async def _raise_version(tx: Connection) -> None:
    version = provider_state.c.secrets_version
    await tx.execute(update(provider_state).values(secrets_version=version + 1))
