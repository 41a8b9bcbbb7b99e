"""Keys that no longer sign alone: for some time after a rotation they sign beside the new one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import insert, select, text

from service.kit.database.connection import Connection
from service.schema.subscribers import previous_signing_keys


@dataclass(frozen=True, slots=True)
class PreviousKey:
    """A key of a subscriber, or of an account for its callback_urls; `secret` and `seed` are sealed
    for that owner. It signs until `expires_at`."""

    id: str
    owner_id: str
    secret: bytes = field(repr=False)
    seed: bytes | None = field(repr=False)
    public_key: bytes | None
    expires_at: datetime


COLUMNS = (
    previous_signing_keys.c.id,
    previous_signing_keys.c.owner_id,
    previous_signing_keys.c.secret,
    previous_signing_keys.c.seed,
    previous_signing_keys.c.public_key,
    previous_signing_keys.c.expires_at,
)


async def of_owner(tx: Connection, owner_id: str) -> list[PreviousKey]:
    """The youngest first. They change only under a lock of their owner's row."""
    statement = select(*COLUMNS).where(previous_signing_keys.c.owner_id == owner_id)
    rows = await tx.execute(statement.order_by(previous_signing_keys.c.id.desc()))
    return [PreviousKey(*row) for row in rows]


async def add(tx: Connection, retired: PreviousKey) -> None:
    values = {column.name: getattr(retired, column.name) for column in COLUMNS}
    await tx.execute(insert(previous_signing_keys).values(values))


_DELETE = text("DELETE FROM previous_signing_keys WHERE id = ANY (CAST(:ids AS text[]))")


async def delete(tx: Connection, ids: Sequence[str]) -> None:
    await tx.execute(_DELETE, {"ids": ids})


async def prune(tx: Connection, now: datetime) -> None:
    """Those whose time is over. A rotation that holds some is not waited for: it does the same."""
    await tx.execute(_PRUNE, {"now": now})


_PRUNE = text("""
    DELETE FROM previous_signing_keys WHERE id IN (
        SELECT id FROM previous_signing_keys WHERE expires_at <= :now FOR UPDATE SKIP LOCKED
    )
""")
