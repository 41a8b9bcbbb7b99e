"""Reconciling: the provider's own list of tasks, held against our subjects, task by task.

A difference is looked at again, task and subject, before it is reported: the two change.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, time
from functools import partial

from service.kit.errors import Unavailable
from service.operations.domain.provider_audit import KEPT, SETTLED
from service.provider.domain.our_tasks import our_id
from service.provider.domain.task_reports import TaskReport
from service.provider.remote.outcomes import TaskFound
from service.provider.steps import task_list
from service.resources import Resources
from service.usage.domain import reconciliation
from service.usage.domain.reconciliation import (
    ENDED,
    BilledSubject,
    BilledTask,
    Reconciliation,
    billed_task,
)
from service.usage.domain.window import Window
from service.usage.store import reconciliation as store

MAX_LOOK_UPS = 2000  # of differences, and of what the list does not say
MAX_SECONDS = 600.0  # that all of it may take
NOT_KEPT_THERE = "subjects ended longer ago than the provider keeps tasks"
NOT_KEPT_HERE = "tasks ended longer ago than subjects are kept here"
TOO_NEW = "tasks ended just now, which a callback may still tell of"
GONE = "tasks are in the list and a look-up did not find them"


async def reconcile(resources: Resources, window: Window) -> Reconciliation:
    """What the provider's list and our subjects do not agree on, of those that ended in a window.

    Raises Unavailable if the provider, or Postgres, could not be asked all that was to be asked.
    """
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _Reconciling(resources, window).run()
    except TimeoutError:
        raise Unavailable(
            f"The provider has more tasks than could be read in {MAX_SECONDS:.0f} s."
        ) from None


class _Reconciling:
    def __init__(self, resources: Resources, window: Window) -> None:
        self._resources = resources
        self._start, self._end = (datetime.combine(day, time(), UTC) for day in window)
        self._now = resources.clock()
        self._listed: set[str] = set()  # the provider's ids of all tasks in its list
        self._found = Reconciliation()

    async def run(self) -> Reconciliation:
        async for page in task_list.pages(self._resources):
            await self._check_page(page.reports)
        await self._check_unlisted()
        return self._found

    async def _check_page(self, reports: Sequence[TaskReport]) -> None:
        # A task may be on two pages: new ones push it on while the list is read.
        new = [report for report in reports if report.provider_task_id not in self._listed]
        self._listed |= {report.provider_task_id for report in new}
        async with self._resources.database.autocommit() as tx:
            held = await store.by_ids(tx, [id_ for report in new if (id_ := our_id(report))])
        for report in new:
            task, id_ = billed_task(report), our_id(report)
            subject = held.get(id_ or "")
            if not self._is_asked_for(subject, task):
                continue
            if id_ is None:
                self._found.foreign.append(task)
            else:
                self._found.tasks += 1
                await self._check(id_, subject, task)

    def _is_asked_for(self, held: BilledSubject | None, task: BilledTask) -> bool:
        """Whether the task has ended in the window: by our clock, if we know of its end."""
        ended_at = task.at if held is None or held.finished_at is None else held.finished_at
        in_window = ended_at is None or self._start <= ended_at < self._end
        return in_window and task.status in ENDED

    async def _check(self, id_: str, held: BilledSubject | None, task: BilledTask) -> None:
        differs = reconciliation.compare(id_, held, task) is not None
        if not differs and not reconciliation.is_silent(held, task):
            return
        if held is None and self._may_be_pruned(task):
            self._found.leave_untold(NOT_KEPT_HERE)
            return
        again = await self._look_up(task.id)
        if again is None:
            self._found.leave_untold(GONE)
            return
        async with self._resources.database.autocommit() as tx:
            subject = (await store.by_ids(tx, [id_])).get(id_)
        found = reconciliation.compare(id_, subject, again)
        if found is None:
            return
        if subject is not None and subject.finished_at is None and self._is_new(again):
            self._found.leave_untold(TOO_NEW)
        else:
            self._found.differences.append(found)

    def _may_be_pruned(self, task: BilledTask) -> bool:
        """Whether a subject that ended with the task may have been pruned."""
        settings = self._resources.settings
        kept = [settings.retention_succeeded_days, settings.retention_failed_days]
        days = min(filter(None, kept), default=None)
        return days is not None and task.at is not None and (self._now - task.at).days >= days

    def _is_new(self, task: BilledTask) -> bool:
        return task.at is not None and task.at > self._now - SETTLED

    async def _check_unlisted(self) -> None:
        """Look up the tasks of our subjects that the list does not have."""
        subjects = store.ended_with_task(self._resources.database, self._start, self._end)
        async for held in subjects:
            self._found.subjects += 1
            if held.provider_task_id is None or held.provider_task_id in self._listed:
                continue
            if held.finished_at is None or held.finished_at < self._now - KEPT:
                self._found.leave_untold(NOT_KEPT_THERE)
                continue
            task = await self._look_up(held.provider_task_id)
            self._found.differences.append(reconciliation.missing_there(held, task))

    async def _look_up(self, task_id: str) -> BilledTask | None:
        """What the provider says of a task; None: it has none of this id."""
        self._found.look_ups += 1
        if self._found.look_ups > MAX_LOOK_UPS:
            raise Unavailable(
                f"More than {MAX_LOOK_UPS} tasks would have to be looked up: give fewer days."
            )
        look_up = partial(self._resources.provider.look_up, task_id)
        answer = await task_list.ask(self._resources, look_up)
        return billed_task(answer.report) if isinstance(answer, TaskFound) else None
