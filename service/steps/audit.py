"""Holding the live database to its promises."""

from service.steps.resources import Resources
from service.store import audit
from service.store.audit import Violation


async def look(resources: Resources) -> list[Violation]:
    """Every violation of promises 1, 4 and 6."""
    async with resources.database.transaction() as tx:
        return await audit.violations(tx)
