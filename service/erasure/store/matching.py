"""Subjects of an account, or of every account, that an erasure of many looks through."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import text

from service.kit.database.bounded_scan import ListPosition
from service.kit.database.connection import Connection
from service.kit.timestamps import EPOCH
from service.subjects.domain.lifecycle import State

SCANNED = 1000  # subjects that are looked at, at a time
START: ListPosition = (EPOCH, "")


class Candidate(Struct, frozen=True):
    """A subject, as far as an erasure of many must know it."""

    id: str
    state: State
    finished: bool
    erased: bool


_COLUMNS = """
    created_at, id, state, finished_at IS NOT NULL AS finished, erased_at IS NOT NULL AS erased,
    CAST(:tag AS text) IS NULL OR :tag = ANY (tags) AS fits
"""
_OF_ACCOUNT = text(f"""
    SELECT {_COLUMNS} FROM subjects
    WHERE account_id = :account_id
    AND (created_at, id) > (CAST(:created_at AS timestamptz), CAST(:id AS text))
    AND created_at <= :until
    ORDER BY created_at, id LIMIT {SCANNED}
""")  # noqa: S608 - our own words
# Of no account in particular: by the ids, which sort by age. No index has tags.
_OF_ALL = text(f"""
    SELECT {_COLUMNS} FROM subjects WHERE id > :id AND created_at <= :until
    ORDER BY id LIMIT {SCANNED}
""")  # noqa: S608 - our own words


async def candidates(
    tx: Connection,
    account_id: str | None,
    tag: str | None,
    until: datetime,
    after: ListPosition,
) -> tuple[list[Candidate], ListPosition | None]:
    """Those of the next SCANNED subjects, made `until` then, that are this account's (None: any's)
    and have this tag (None: any, or none); and where the next begin, None at the end."""
    values = {"tag": tag, "until": until, "id": after[1]}
    if account_id is None:
        rows = await tx.execute(_OF_ALL, values)
    else:
        values |= {"account_id": account_id, "created_at": after[0]}
        rows = await tx.execute(_OF_ACCOUNT, values)
    found = [
        Candidate(row["id"], State(row["state"]), row["finished"], row["erased"])
        for row in rows
        if row["fits"]
    ]
    rest = (rows[-1]["created_at"], rows[-1]["id"]) if len(rows) == SCANNED else None
    return found, rest
