"""The audit that workers make: once a minute one of them looks at what has changed lately."""

from collections import defaultdict
from datetime import timedelta

import structlog

from service.operations.domain.audit_checks import AuditCheck, Violation
from service.operations.steps.audit import Extent, run_audit
from service.operations.store import audit_results
from service.resources import Resources

log = structlog.get_logger()

INTERVAL = timedelta(minutes=1)
# Looked at once more: what was committed late, and what another clock has timed.
OVERLAP = timedelta(minutes=1)
MAX_EVENTS = 20_000  # the newest
MAX_SUBSCRIBERS = 1000  # whose keys are tried, the newest
ROWS = 2_000  # of a slice: some 20 ms
TIMEOUT = timedelta(seconds=5)  # of a statement
MAX_LOGGED = 20  # lines of one audit


async def run_if_due(resources: Resources) -> None:
    """Audit what has changed since the audit before, unless a worker has begun one within INTERVAL.

    A violation that was found before is looked at again, so that it counts until it is mended.
    """
    now = resources.clock()
    async with resources.database.autocommit() as tx:
        earlier = await audit_results.start_if_due(tx, now, INTERVAL)
    if earlier is None:
        return
    extent = Extent(
        since=(earlier.audited_at or now) - OVERLAP,
        rows=ROWS,
        events=MAX_EVENTS,
        subscribers=MAX_SUBSCRIBERS,
        at_once=1,
        timeout=TIMEOUT,
    )
    report = await run_audit(resources, extent, earlier.violations)
    _log([violation for violation in report.violations if violation not in earlier.violations])
    found = defaultdict[AuditCheck, list[str]](list)
    for violation in report.violations:
        found[AuditCheck(violation.check)].append(violation.about)
    async with resources.database.autocommit() as tx:
        await audit_results.write(tx, now, found)


def _log(new: list[Violation]) -> None:
    for violation in new[:MAX_LOGGED]:
        log.error(
            "audit",
            action="audit_violation",
            check=violation.check,
            promise=violation.promise,
            rule=violation.rule,
            about=violation.about,
            more=max(0, len(new) - MAX_LOGGED),
        )
