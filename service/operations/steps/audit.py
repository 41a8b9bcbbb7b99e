"""Audit: looks for broken promises in the live database, slice by slice.

What is found is looked at again at the end, all of it in one snapshot, and only what is still so
then is reported: nothing is that merely changed from one slice to the next.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter

from service.kit.database.connection import Connection
from service.kit.database.database import STATEMENT_TIMEOUT
from service.kit.setting_parsers import MAX_DELAY
from service.kit.timestamps import EPOCH
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


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an audit looks at, and how long one statement may take."""

    # Only subjects that have an event since then, or are with the provider; None: all of them.
    since: datetime | None = None
    rows: int = SLICE  # of each table in a slice, or a few more
    events: float = math.inf  # with `since`: the newest, and at most so many
    subscribers: float = math.inf  # whose keys are tried: the newest, and about so many
    at_once: int = 2  # slices, each on a connection of its own
    timeout: timedelta = STATEMENT_TIMEOUT


EVERYTHING = Extent()


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
    resources: Resources, extent: Extent = EVERYTHING, known: Sequence[Violation] = ()
) -> AuditReport:
    """Check so much of the database, and all that waits now; and whether what is known from before
    is still so.

    Raises Unavailable if Postgres cannot be reached, or a statement takes too long.
    """
    began, findings = perf_counter(), _Findings()
    findings.add(await _still_so(resources, extent, known))
    await _check_slices(resources, extent, findings)
    async with _limited(resources, extent) as tx:
        findings.add(await _check_waiting(tx, resources))
    async for ids in audit_keys.pages(resources, extent.subscribers):
        findings.add(await audit_keys.check_keys(resources, ids))
        findings.checked["subscribers"] += len(ids)
    violations = await _still_so(resources, extent, findings.violations())
    return AuditReport(violations, dict(findings.checked), round(perf_counter() - began, 3))


async def _check_slices(resources: Resources, extent: Extent, findings: _Findings) -> None:
    """Check slice by slice, so many at once."""
    slices = changed_since(resources, extent) if extent.since else _everything(resources, extent)
    turn = asyncio.Lock()

    async def check_rest() -> None:
        while True:
            async with turn:
                ranges = await anext(slices, None)
            if ranges is None:
                return
            async with _limited(resources, extent) as tx:
                await audit_slices.plan_for_slices(tx)
                found, checked = await _check(tx, resources, ranges)
            findings.add(found)
            findings.checked.update(checked)

    tasks = [asyncio.create_task(check_rest()) for _ in range(extent.at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _still_so(
    resources: Resources, extent: Extent, found: Sequence[Violation]
) -> list[Violation]:
    """Those that are found once more, when they are looked for all together in one snapshot."""
    if not found:
        return []
    again: set[Violation] = set()
    async with resources.database.transaction() as tx:
        await audit_slices.begin_snapshot(tx)
        await audit_slices.limit_statements(tx, extent.timeout)
        again.update(await _check_waiting(tx, resources, found))
        await audit_slices.plan_for_slices(tx)
        ranges = audit_ranges.ranges_of(violation.about for violation in found)
        again.update((await _check(tx, resources, ranges, found))[0])
    ids = [violation.about for violation in found if violation.check is AuditCheck.SUBSCRIBER_KEY]
    again.update(await audit_keys.check_keys(resources, ids))
    return [violation for violation in found if violation in again]


async def _everything(resources: Resources, extent: Extent) -> AsyncIterator[Sequence[Range]]:
    found: Range | None = (audit_ranges.FIRST, audit_ranges.FIRST)
    while found:
        async with _limited(resources, extent) as tx:
            found = await audit_ranges.next_range(tx, found[1], extent.rows)
        yield [found] if found else []


async def changed_since(resources: Resources, extent: Extent) -> AsyncIterator[Sequence[Range]]:
    """The subjects that have an event since `extent.since`, or are with the provider; a subject may
    come several times."""
    async with _limited(resources, extent) as tx:
        with_provider = await audit_ranges.with_provider(tx, extent.rows)
        place = await audit_ranges.end_of_feed(tx)
    yield audit_ranges.ranges_of(with_provider)
    seen, ids, since = 0, [""], extent.since or EPOCH
    while ids and seen < extent.events:
        async with _limited(resources, extent) as tx:
            ids, place = await audit_ranges.changes_before(tx, place, since, extent.rows)
        yield audit_ranges.ranges_of(ids)
        seen += len(ids)


@asynccontextmanager
async def _limited(resources: Resources, extent: Extent) -> AsyncIterator[Connection]:
    """A transaction whose statements take no longer than the extent allows."""
    async with resources.database.transaction() as tx:
        await audit_slices.limit_statements(tx, extent.timeout)
        yield tx


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
