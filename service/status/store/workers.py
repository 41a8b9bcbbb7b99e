"""Whether there are workers, as Postgres knows it."""

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.listen import session_name
from service.subjects.store.work import WORK_CHANNEL

# datname and application_name are shown to every role.
_LISTENING = text("""
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = :name
    )
""")


async def worker_runs(tx: Connection) -> bool:
    """Whether a worker listens for work, for which each has a session of its own."""
    return bool(await tx.scalar(_LISTENING, {"name": session_name(WORK_CHANNEL)}))
