"""The table `pruning`, of one row: which worker prunes now, and whether any does."""

from datetime import datetime, timedelta

from sqlalchemy import text

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection

PRUNE_LOCK = 0x63616C6C_7072756E  # an advisory lock, any constant of our own

# A start in the future was written by a wrong clock, and would delay pruning: it is ignored.
_START_IF_DUE = text(f"""
    UPDATE pruning SET started_at = :now
    WHERE (started_at IS NULL OR started_at <= :since OR started_at > :until) AND {AT_HOME}
    RETURNING id
""")  # noqa: S608 - only our own words are put in
# No commit of a batch waits for disk: what a crash of Postgres undoes is done again. Time is
# Postgres' own, as that of transactions is. Those of other roles are seen only with
# pg_read_all_stats.
_ENTER = text(f"""
    SELECT set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock(:key), (
        SELECT clock_timestamp() - min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
    ), {AT_HOME}
""")  # noqa: S608 - only our own words are put in
_NOTE_PAUSE = text("""
    UPDATE pruning SET pause_reason = :reason WHERE pause_reason IS DISTINCT FROM :reason
    RETURNING id
""")


async def start_if_due(tx: Connection, fence: Fence, now: datetime, every: timedelta) -> bool:
    """Whether the caller is to prune: true for one caller in each interval `every`, and for none
    outside the fence."""
    values = {"now": now, "since": now - every, "until": now + every, **fence.values()}
    return await tx.first(_START_IF_DUE, values) is not None


async def enter(tx: Connection, fence: Fence) -> tuple[bool, timedelta, bool]:
    """Whether no other process prunes until this transaction ends; how long the oldest transaction
    in this database, but for this one, is under way (nothing if there is none); and whether the
    caller is inside the fence."""
    values = {"key": PRUNE_LOCK, **fence.values()}
    _, locked, oldest, at_home = await tx.first(_ENTER, values)
    return locked, oldest or timedelta(0), at_home


async def note_pause(tx: Connection, reason: str | None) -> bool:
    """Note why nothing is pruned; None: it is. Whether that is another than was noted before."""
    return await tx.first(_NOTE_PAUSE, {"reason": reason}) is not None
