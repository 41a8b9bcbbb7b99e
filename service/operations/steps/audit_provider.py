"""The audit against the provider: its own list and its look-ups, held against our subjects.

Each difference is looked at again, task and subject, before it is reported: the two change.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from itertools import pairwise
from time import perf_counter

from service.kit.errors import Unavailable
from service.operations.domain import provider_audit
from service.operations.domain.audit_checks import AuditCheck, AuditReport, ProviderCheck, Violation
from service.operations.domain.provider_audit import KEPT, HeldSubject
from service.operations.steps.audit import Extent, changed_since
from service.operations.store import audit_subjects
from service.operations.store.audit_slices import MAX_VIOLATIONS
from service.provider.domain.our_tasks import our_id
from service.provider.domain.task_reports import TaskReport
from service.provider.remote.outcomes import TaskFound, TaskNotFound
from service.provider.steps import task_list
from service.resources import Resources

MAX_LOOK_UPS = 2000  # of subjects that the list does not have, and of differences
MAX_SECONDS = 600.0  # that all of it may take


async def compare(resources: Resources, since: datetime | None = None) -> AuditReport:
    """The differences between the provider's tasks and our subjects; with `since`, of those that
    have changed since then. Tasks that do not carry an id of our kind are left aside.

    Raises Unavailable if the provider, or Postgres, could not be asked all that was to be asked.
    """
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _Comparison(resources, since).run()
    except TimeoutError:
        raise Unavailable(
            f"The provider has more tasks than could be read in {MAX_SECONDS:.0f} s: give --since."
        ) from None


class _Comparison:
    def __init__(self, resources: Resources, since: datetime | None) -> None:
        self._resources, self._since = resources, since
        self._look_ups = 0
        self._listed: set[str] = set()  # ids of subjects whose tasks the list has
        self._found: list[Violation] = []
        self._tasks = 0

    async def run(self) -> AuditReport:
        began = perf_counter()
        async for page in self._pages():
            await self._check_page(page)
        await self._check_unlisted()
        checked = {"provider_tasks": self._tasks, "provider_look_ups": self._look_ups}
        return AuditReport(sorted(self._found), checked, round(perf_counter() - began, 3))

    async def _pages(self) -> AsyncIterator[Sequence[TaskReport]]:
        """The pages of the provider's list; with `since`, up to the first that is older, as long as
        the newest come first (nobody has said so)."""
        newest_first = True
        async for page in task_list.pages(self._resources):
            self._tasks += page.count
            yield page.reports
            moments = [report.created_at for report in page.reports if report.created_at]
            newest_first &= all(later >= earlier for later, earlier in pairwise(moments))
            is_older = not any(self._is_recent(report) for report in page.reports)
            if newest_first and is_older:
                return

    def _is_recent(self, report: TaskReport) -> bool:
        changed_at = report.updated_at or report.created_at
        return self._since is None or changed_at is None or changed_at >= self._since

    async def _check_page(self, reports: Sequence[TaskReport]) -> None:
        ours = {id_: report for report in reports if (id_ := our_id(report))}
        self._listed |= ours.keys()
        async with self._resources.database.autocommit() as tx:
            held = await audit_subjects.by_ids(tx, list(ours))
        for id_, report in ours.items():
            found = self._difference(id_, held.get(id_), report)
            if found and self._is_recent(report) and self._has_room(found.check):
                await self._check_again(id_, report)

    def _difference(
        self, subject_id: str, held: HeldSubject | None, report: TaskReport
    ) -> Violation | None:
        if held is None:
            return provider_audit.orphan(subject_id, report)
        return provider_audit.lost_here(held, report, self._resources.clock())

    async def _check_again(self, subject_id: str, report: TaskReport) -> None:
        """Look the task up, and then at the subject, once more."""
        answer = await self._look_up(report.provider_task_id)
        async with self._resources.database.autocommit() as tx:
            held = await audit_subjects.by_ids(tx, [subject_id])
        if isinstance(answer, TaskFound):
            self._add(self._difference(subject_id, held.get(subject_id), answer.report))

    async def _check_unlisted(self) -> None:
        """Look up the tasks of subjects that the list does not have."""
        since = self._resources.clock() - KEPT
        extent = Extent(since=max(since, self._since or since))
        async for ranges in changed_since(self._resources, extent):
            async with self._resources.database.autocommit() as tx:
                subjects = await audit_subjects.taken(tx, ranges)
            for held in subjects:
                if held.id not in self._listed and self._has_room(ProviderCheck.UNKNOWN_THERE):
                    self._listed.add(held.id)
                    await self._check_known(held)

    async def _check_known(self, held: HeldSubject) -> None:
        for name in (held.provider_task_id, held.id):
            if name and not isinstance(await self._look_up(name), TaskNotFound):
                return
        async with self._resources.database.autocommit() as tx:
            again = await audit_subjects.by_ids(tx, [held.id])
        if again.get(held.id) == held:
            self._add(provider_audit.unknown_there(held))

    async def _look_up(self, name: str) -> TaskFound | TaskNotFound:
        self._look_ups += 1
        if self._look_ups > MAX_LOOK_UPS:
            raise Unavailable(
                f"More than {MAX_LOOK_UPS} tasks would have to be looked up: give --since."
            )
        return await task_list.ask(self._resources, partial(self._resources.provider.look_up, name))

    def _has_room(self, check: AuditCheck | ProviderCheck) -> bool:
        return sum(found.check is check for found in self._found) < MAX_VIOLATIONS

    def _add(self, found: Violation | None) -> None:
        if found is not None and self._has_room(found.check):
            self._found.append(found)
