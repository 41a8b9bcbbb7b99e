"""The row of the table `installation`."""

from datetime import datetime

from sqlalchemy import text

from service.installation.domain.installation import STEP_BACK, Fence, Installation
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection, Row

_COLUMNS = "installation_id, public_url, last_moment, held_reason, held_since"
_READ = text(f"SELECT {_COLUMNS} FROM installation WHERE id = 1")  # noqa: S608 - our own words
_LOCK = text(f"SELECT {_COLUMNS} FROM installation WHERE id = 1 FOR NO KEY UPDATE")  # noqa: S608
_AT_HOME = text(f"SELECT {AT_HOME}")
# Once a clock that was ahead is put right, the moment still goes on, or no restore could be found
# out until then; slowly, as a few clocks may go behind the others for good.
_NOTE = text(f"""
    UPDATE installation SET public_url = :home_url, last_moment = CASE
        WHEN last_moment > CAST(:now AS timestamptz) + interval '{STEP_BACK.seconds} seconds'
        THEN last_moment + interval '1 second' ELSE greatest(last_moment, :now) END
    WHERE id = 1 AND installation_id = :id AND coalesce(public_url, :home_url) = :home_url
    AND held_reason IS NULL
    AND (CAST(:least_moment AS timestamptz) IS NULL OR last_moment >= :least_moment)
    RETURNING {_COLUMNS}
""")  # noqa: S608 - our own words
_MOVE = text("UPDATE installation SET public_url = :home_url WHERE id = 1")
_HOLD = text(f"""
    UPDATE installation SET held_reason = :reason, held_since = :now
    WHERE id = 1 AND installation_id = :id AND held_reason IS NULL
    RETURNING {_COLUMNS}
""")  # noqa: S608 - our own words


async def read(tx: Connection) -> Installation:
    """The installation as it stands."""
    return _installation(await tx.first(_READ))


async def lock(tx: Connection) -> Installation:
    """The installation as it stands, and stays to the end of this transaction."""
    return _installation(await tx.first(_LOCK))


async def at_home(tx: Connection, fence: Fence) -> bool:
    """Whether work may be claimed inside this fence."""
    return bool(await tx.scalar(_AT_HOME, fence.values()))


async def note(tx: Connection, installation_id: str, fence: Fence, now: datetime) -> Installation:
    """Note that this installation is alive at `now`, unless it is held, is another's home, or is
    older than the fence's least moment (None: anything will do); the installation as it stands
    then. If nobody is at home yet, the fence's URL is."""
    values = {"id": installation_id, "now": now, **fence.values()}
    return _installation(await tx.first(_NOTE, values) or await tx.first(_READ))


async def hold(tx: Connection, installation_id: str, reason: str, now: datetime) -> Installation:
    """Hold all processes, for a reason that operators read, unless they are held already; the
    installation as it stands then."""
    values = {"id": installation_id, "reason": reason, "now": now}
    return _installation(await tx.first(_HOLD, values) or await tx.first(_READ))


async def move(tx: Connection, home_url: str) -> None:
    """Say that this database is that of the processes with this home URL, without a question."""
    await tx.execute(_MOVE, {"home_url": home_url})


def _installation(row: Row | None) -> Installation:
    if row is None:
        raise LookupError("the table installation has no row: it is made by `callsheet migrate`")
    return Installation(*row)
