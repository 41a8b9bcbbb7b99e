"""Holding the live database to its promises."""

from service.operations.store import audit
from service.operations.store.audit import Violation
from service.resources import Resources


async def run_audit(resources: Resources) -> list[Violation]:
    """Every violation of promises 1, 4 and 6."""
    async with resources.database.transaction() as tx:
        return await audit.violations(tx)
