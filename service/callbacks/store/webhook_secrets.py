"""SQL of the webhook secrets that were added while we run; every change raises their version."""

from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import delete, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.kit.database.connection import Connection
from service.schema.callbacks import webhook_secrets
from service.schema.provider import provider_state


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A secret or public key that a source's callbacks are verified with."""

    id: str  # "sec_…"
    source: str  # the source's name
    fingerprint: str  # hex digits: tells it from the source's others, without showing it
    secret: bytes = field(repr=False)  # encrypted, in WebhookSecretCache.encryption_context
    created_at: datetime  # when it was added


# One statement, so that the version is that of these very secrets.
_CURRENT = text("""
    SELECT p.secrets_version, s.id, s.source, s.fingerprint, s.secret, s.created_at
    FROM provider_state p LEFT JOIN webhook_secrets s ON true WHERE p.id = 1
    ORDER BY s.created_at, s.id
""")


async def current(tx: Connection) -> tuple[int, list[WebhookSecret]]:
    """The version of the secrets in force, and the secrets that were added, oldest first."""
    rows = await tx.execute(_CURRENT)
    return rows[0][0], [WebhookSecret(*row[1:]) for row in rows if row[1] is not None]


async def add(tx: Connection, secret: WebhookSecret) -> bool:
    """Insert a secret; False, and nothing written, if the source has it already."""
    statement = (
        upsert(webhook_secrets)
        .values(asdict(secret))
        .on_conflict_do_nothing(index_elements=["source", "fingerprint"])
        .returning(webhook_secrets.c.id)
    )
    added = await tx.first(statement) is not None
    if added:
        await _raise_version(tx)
    return added


async def remove(tx: Connection, secret_id: str) -> bool:
    """Delete a secret; False if there is none of this id."""
    statement = (
        delete(webhook_secrets)
        .where(webhook_secrets.c.id == secret_id)
        .returning(webhook_secrets.c.id)
    )
    removed = await tx.first(statement) is not None
    if removed:
        await _raise_version(tx)
    return removed


async def _raise_version(tx: Connection) -> None:
    version = provider_state.c.secrets_version
    await tx.execute(update(provider_state).values(secrets_version=version + 1))
