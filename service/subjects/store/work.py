"""NOTIFY of work, within the transaction that makes it: workers hear of it when it commits, and of
nothing that is rolled back. What writes events notifies by itself: see events.py."""

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.work import Work

WORK_CHANNEL = "callsheet_work"  # the payload names kinds of work, with commas between them


def notify_sql(work: Work) -> str:
    """SQL that does what `notify` does, to be selected by a statement that makes the work."""
    return f"pg_notify('{WORK_CHANNEL}', '{work}')"


async def notify(tx: Connection, work: Work) -> None:
    """Notify all workers, when this transaction commits, that there may be work of this kind."""
    await tx.execute(text(f"SELECT {notify_sql(work)}"))
