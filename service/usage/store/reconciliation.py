"""Subjects as reconciliation holds them against the provider's tasks."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.database import Database
from service.subjects.domain.lifecycle import State
from service.usage.domain.reconciliation import BilledSubject

PAGE = 1000  # subjects that are read at a time
CHARGED: Final = (State.SUCCEEDED, State.FAILED)  # the ends that may have cost something
_BY_IDS = text("""
    SELECT id, provider_task_id, units, finished_at FROM subjects
    WHERE id = ANY (CAST(:ids AS text[]))
""")
_ENDED = text("""
    SELECT id, provider_task_id, units, finished_at FROM subjects
    WHERE state = :state AND finished_at >= :at AND finished_at < :end
    AND (finished_at, id) > (:at, CAST(:id AS text))
    ORDER BY finished_at, id LIMIT :most
""")


async def by_ids(tx: Connection, ids: Sequence[str]) -> dict[str, BilledSubject]:
    """Those of these subjects that there are, by their ids."""
    rows = await tx.execute(_BY_IDS, {"ids": ids})
    return {row["id"]: BilledSubject(*row) for row in rows}


async def ended_with_task(
    database: Database, start: datetime, end: datetime
) -> AsyncIterator[BilledSubject]:
    """The subjects that ended from a moment to before another, as far as the provider had a task of
    theirs. They are read page by page."""
    for state in CHARGED:
        values = {"state": state.value, "at": start, "id": "", "end": end, "most": PAGE}
        rows: Sequence[Sequence[object]] = [()] * PAGE
        while len(rows) == PAGE:
            async with database.autocommit() as tx:
                rows = await tx.execute(_ENDED, values)
            for row in rows:
                held = BilledSubject(*row)  # type: ignore[arg-type] # as the statement has them
                values |= {"at": held.finished_at, "id": held.id}
                if held.provider_task_id is not None:
                    yield held
