"""The table of holds, and how a statement reads what it may not do in the same moment.

Whoever makes a hold waits for the statements that began before it, and lets none begin until it is
committed: `held_sql` locks the table against `lock`. So what a hold stops is not done once it is
committed, whatever was under way.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.hold import Hold, HoldTarget

_IN_FORCE = "(until IS NULL OR until > :now)"


def held_sql(what: HoldTarget, condition: str = "true") -> str:
    """A query of the holds of this that are in force at the parameter `now`, and meet this SQL
    condition: `id`, `account_id` (NULL: of every account) and `until`, for a WITH of the statement
    that obeys them."""
    # Postgres locks the tables of a statement before it takes the snapshot that is read. KEY SHARE,
    # as a plain read would not wait for `lock`.
    return f"""
        SELECT id, account_id, until FROM holds
        WHERE what = '{what}' AND {_IN_FORCE} AND ({condition}) FOR KEY SHARE
    """  # noqa: S608 - only our own words are put in


_HOLDS = """
    SELECT h.id, h.what, h.account_id, a.name, h.reason, h.until, h.created_at
    FROM holds h LEFT JOIN accounts a ON a.id = h.account_id
"""
_LIST = text(f"{_HOLDS} WHERE {_IN_FORCE} ORDER BY h.id")
# Everything waits behind it: so not for long, should a process hang in a transaction of its own.
_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '2s'")
_LOCK = text("LOCK TABLE holds IN EXCLUSIVE MODE")
_COUNT = text(f"SELECT count(*) FROM holds WHERE {_IN_FORCE}")  # noqa: S608 - only our own words
_ADD = text("""
    INSERT INTO holds (id, what, account_id, reason, until, created_at)
    VALUES (:id, :what, :account_id, :reason, :until, :created_at)
""")
_DELETE = text(f"""
    WITH h AS (DELETE FROM holds WHERE {_IN_FORCE} AND id = :id RETURNING *)
    {_HOLDS.replace("holds h", "h")}
""")  # noqa: S608 - only our own words are put in
_DELETE_EXPIRED = text("DELETE FROM holds WHERE until <= :now RETURNING id")


async def in_force(tx: Connection, now: datetime) -> list[Hold]:
    """The holds that are in force, the oldest first."""
    return [_hold(row) for row in await tx.execute(_LIST, {"now": now})]


def _hold(row: Any) -> Hold:  # noqa: ANN401 - a Row
    id_, what, *rest = row
    return Hold(id_, HoldTarget(what), *rest)


async def lock(tx: Connection) -> None:
    """Wait for the statements that obey holds, and keep others from beginning until this
    transaction ends. Unavailable if one of them goes on for too long."""
    await tx.execute(_LOCK_TIMEOUT)
    await tx.execute(_LOCK)


async def count(tx: Connection, now: datetime) -> int:
    """How many holds are in force."""
    return int(await tx.scalar(_COUNT, {"now": now}))


async def add(tx: Connection, hold: Hold) -> None:
    """Write a new hold, after `lock`."""
    values = {
        "id": hold.id,
        "what": hold.what,
        "account_id": hold.account_id,
        "reason": hold.reason,
        "until": hold.until,
        "created_at": hold.created_at,
    }
    await tx.execute(_ADD, values)


async def delete(tx: Connection, hold_id: str, now: datetime) -> Hold | None:
    """Delete the hold of this id, and return it; None if none of this id is in force."""
    row = await tx.first(_DELETE, {"id": hold_id, "now": now})
    return None if row is None else _hold(row)


async def delete_expired(tx: Connection, now: datetime) -> int:
    """Delete the holds that are over; how many."""
    return len(await tx.execute(_DELETE_EXPIRED, {"now": now}))
