"""The table `pruning`, of one row: which worker prunes now, and whether any does."""

from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection

PRUNE_LOCK = 0x63616C6C_7072756E  # an advisory lock, any constant of our own

# A start in the future was written by a wrong clock, and would delay pruning: it is ignored.
_START_IF_DUE = text("""
    UPDATE pruning SET started_at = :now
    WHERE started_at IS NULL OR started_at <= :since OR started_at > :until
    RETURNING id
""")
# No commit of a batch waits for disk: what a crash of Postgres undoes is done again. Time is
# Postgres' own, as that of transactions is. Those of other roles are seen only with
# pg_read_all_stats.
_ENTER = text("""
    SELECT set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock(:key), (
        SELECT clock_timestamp() - min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
    )
""")
_NOTE_PAUSE = text("""
    UPDATE pruning SET pause_reason = :reason WHERE pause_reason IS DISTINCT FROM :reason
    RETURNING id
""")


async def start_if_due(tx: Connection, now: datetime, every: timedelta) -> bool:
    """Whether the caller is to prune: true for one caller in each interval `every`."""
    values = {"now": now, "since": now - every, "until": now + every}
    return await tx.first(_START_IF_DUE, values) is not None


async def enter(tx: Connection) -> tuple[bool, timedelta]:
    """Whether no other process prunes until this transaction ends; and how long the oldest
    transaction in this database, but for this one, is under way (nothing if there is none)."""
    _, locked, oldest = await tx.first(_ENTER, {"key": PRUNE_LOCK})
    return locked, oldest or timedelta(0)


async def note_pause(tx: Connection, reason: str | None) -> bool:
    """Note why nothing is pruned; None: it is. Whether that is another than was noted before."""
    return await tx.first(_NOTE_PAUSE, {"reason": reason}) is not None
