"""Summing up days that are over, so that months are not read subject by subject."""

from service.resources import Resources
from service.usage.store import day_table

MAX_DAYS = 10  # that are reckoned one after the other


async def reckon(resources: Resources) -> None:
    """Reckon the oldest days for which that is due, each in a transaction of its own."""
    for _ in range(MAX_DAYS):
        async with resources.database.transaction() as tx:
            if await day_table.reckon_next(tx, resources.clock()) is None:
                return
