"""Audit: looks for broken promises in the live database."""

from service.operations.store import audit_rules
from service.operations.store.audit_rules import Violation
from service.resources import Resources


async def run_audit(resources: Resources) -> list[Violation]:
    """The violations of promises 1, 4 and 6 of service/README.md."""
    async with resources.database.transaction() as tx:
        return await audit_rules.violations(tx)
