"""Which ids are those of subjects that this database has."""

from collections.abc import Sequence

from sqlalchemy import text

from service.kit.database.connection import Connection

_KNOWN = text("SELECT id FROM subjects WHERE id = ANY (CAST(:ids AS text[]))")


async def known_ids(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids that a subject has."""
    return {row[0] for row in await tx.execute(_KNOWN, {"ids": ids})}
