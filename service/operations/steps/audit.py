"""Audit: looks for broken promises in the live database, slice by slice.

What is found is looked at again at the end, all of it in one snapshot, and only what is still so
then is reported: nothing is that merely changed from one slice to the next.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter

from service.kit.database.connection import Connection
from service.kit.setting_parsers import MAX_DELAY
from service.operations.domain.audit_checks import AuditCheck, AuditReport, Violation
from service.operations.steps import audit_keys
from service.operations.store import audit_ranges, audit_slices, audit_waiting
from service.operations.store.audit_ranges import SLICE, Range
from service.operations.store.audit_slices import MAX_VIOLATIONS
from service.resources import Resources

# No delivery is due later: a wait of a schedule, with its jitter, doubled by a Retry-After.
MAX_DELIVERY_WAIT = timedelta(seconds=3 * MAX_DELAY)
# A subject's next moment is its deadline's at the latest, and the longest pause of a retry later.
GRACE = timedelta(hours=1)
# A worker takes up at once what a lease has left; so long after one none is there, or it hangs.
LEASES = 10  # of the setting LEASE, after the end of one
MIN_OVER = timedelta(minutes=10)


@dataclass(slots=True)
class _Findings:
    """What was found so far."""

    by_check: dict[AuditCheck, set[str]] = field(default_factory=dict)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, found: Iterable[Violation]) -> None:
        """Add to what was found, up to MAX_VIOLATIONS of each check."""
        for violation in found:
            about = self.by_check.setdefault(AuditCheck(violation.check), set())
            if len(about) < MAX_VIOLATIONS:
                about.add(violation.about)

    def violations(self) -> list[Violation]:
        return sorted(
            Violation(check, about) for check, found in self.by_check.items() for about in found
        )


async def run_audit(
    resources: Resources, since: datetime | None = None, rows: int = SLICE
) -> AuditReport:
    """Check everything; with `since`, only the subjects that have an event since then or are with
    the provider, and all that waits now. A slice has `rows` rows of each table, or few more.

    Raises Unavailable if Postgres cannot be reached, or a slice takes too long.
    """
    began, findings = perf_counter(), _Findings()
    slices = _changed(resources, since, rows) if since else _everything(resources, rows)
    async for ranges in slices:
        await _check_slice(resources, ranges, findings)
    async with resources.database.transaction() as tx:
        findings.add(await _check_waiting(tx, resources))
    async for ids in audit_keys.pages(resources):
        findings.add(await audit_keys.check_keys(resources, ids))
        findings.checked["subscribers"] += len(ids)
    violations = await still_so(resources, findings.violations())
    return AuditReport(violations, dict(findings.checked), round(perf_counter() - began, 3))


async def still_so(resources: Resources, found: Sequence[Violation]) -> list[Violation]:
    """Those that are found once more, when they are looked for all together in one snapshot."""
    if not found:
        return []
    again: set[Violation] = set()
    async with resources.database.transaction() as tx:
        await audit_slices.begin_snapshot(tx)
        again.update(await _check_waiting(tx, resources, found))
        await audit_slices.plan_for_slices(tx)
        ranges = audit_ranges.ranges_of(violation.about for violation in found)
        again.update((await _check(tx, resources, ranges, found))[0])
    ids = [one.about for one in found if one.check is AuditCheck.SUBSCRIBER_KEY]
    again.update(await audit_keys.check_keys(resources, ids))
    return [violation for violation in found if violation in again]


async def _everything(resources: Resources, rows: int) -> AsyncIterator[Sequence[Range]]:
    found: Range | None = (audit_ranges.FIRST, audit_ranges.FIRST)
    while found:
        async with resources.database.autocommit() as tx:
            found = await audit_ranges.next_range(tx, found[1], rows)
        yield [found] if found else []


async def _changed(
    resources: Resources, since: datetime, rows: int
) -> AsyncIterator[Sequence[Range]]:
    async with resources.database.autocommit() as tx:
        yield audit_ranges.ranges_of(await audit_ranges.with_provider(tx, rows))
        place = await audit_ranges.end_of_feed(tx)
    ids = [""]
    while ids:
        async with resources.database.autocommit() as tx:
            ids, place = await audit_ranges.changes_before(tx, place, since, rows)
        yield audit_ranges.ranges_of(ids)


async def _check_slice(resources: Resources, ranges: Sequence[Range], findings: _Findings) -> None:
    async with resources.database.transaction() as tx:
        await audit_slices.plan_for_slices(tx)
        found, checked = await _check(tx, resources, ranges)
    findings.add(found)
    findings.checked.update(checked)


async def _check(
    tx: Connection,
    resources: Resources,
    ranges: Sequence[Range],
    again: Sequence[Violation] | None = None,
) -> tuple[list[Violation], dict[str, int]]:
    latest = resources.clock() + MAX_DELIVERY_WAIT
    return await audit_slices.check_slice(tx, ranges, latest=latest, grace=GRACE, again=again)


async def _check_waiting(
    tx: Connection, resources: Resources, again: Sequence[Violation] | None = None
) -> list[Violation]:
    settings = resources.settings
    over = resources.clock() - max(timedelta(seconds=LEASES * settings.lease), MIN_OVER)
    slots = settings.provider_parallel
    return await audit_waiting.check_waiting(tx, over=over, slots=slots, again=again)
