"""How far the walk over the old of one kind has come: it goes by age, and on where it ended."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.timestamps import EPOCH
from service.retention.domain.kinds import Kind


class Walk(Struct, frozen=True):
    """A walk, and the place that it has come to."""

    began_at: datetime  # when it began
    after_at: datetime = EPOCH  # it has looked at all that ended before then,
    after_id: str = ""  # or then, with an id up to this one
    kept: int = 0  # how many it has passed over, as they must be kept for now


_READ = text("SELECT began_at, after_at, after_id, kept FROM pruning_walks WHERE kind = :kind")
_WRITE = text("""
    INSERT INTO pruning_walks (kind, began_at, after_at, after_id, kept)
    VALUES (:kind, :began_at, :after_at, :after_id, :kept)
    ON CONFLICT (kind) DO UPDATE SET began_at = excluded.began_at, after_at = excluded.after_at,
        after_id = excluded.after_id, kept = excluded.kept
""")


async def read(tx: Connection, kind: Kind) -> Walk | None:
    """The walk of a kind; None if there was none yet."""
    row = await tx.first(_READ, {"kind": kind.value})
    return None if row is None else Walk(*row)


async def write(tx: Connection, kind: Kind, walk: Walk) -> None:
    """Note how far a walk has come."""
    values = {
        "kind": kind.value,
        "began_at": walk.began_at,
        "after_at": walk.after_at,
        "after_id": walk.after_id,
        "kept": walk.kept,
    }
    await tx.execute(_WRITE, values)
