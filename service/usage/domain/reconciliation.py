"""Reconciliation: what the provider's list says it deducted, held against what we have written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from service.provider.domain.results import parse_units
from service.provider.domain.task_reports import TaskReport, TaskStatus
from service.usage.domain.report import exact_text

ENDED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})


class DifferenceKind(StrEnum):
    """In what the two do not agree on a task."""

    MISSING_HERE = "missing_here"  # the provider has it, and no ended subject of ours is its
    MISSING_THERE = "missing_there"  # our subject was its, and the provider's list has it not
    DEDUCTED_DIFFERENTLY = "deducted_differently"


class BilledSubject(Struct, frozen=True):
    """What we hold of a subject that the provider may have charged for."""

    id: str  # sub_…
    provider_task_id: str | None  # None: we know of no task
    units: Decimal | None  # None: the provider did not say
    finished_at: datetime | None  # None: it has not ended


class BilledTask(Struct, frozen=True):
    """What the provider says of a task."""

    id: str  # the provider's id of it
    external_id: str | None  # that it was created with
    status: TaskStatus | None  # None: the word is unknown
    units: Decimal | None  # None: it does not say
    at: datetime | None  # when it changed last, by the provider's clock; None: it does not say


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """A task on which the two do not agree."""

    kind: DifferenceKind
    subject_id: str
    text: str  # what each says

    def __str__(self) -> str:
        """A line for people."""
        return f"{self.kind}: {self.subject_id}: {self.text}"


@dataclass(slots=True)
class Reconciliation:
    """What came of it."""

    differences: list[Difference] = field(default_factory=list)
    foreign: list[BilledTask] = field(default_factory=list)  # tasks without an id of our kind
    tasks: int = 0  # of ours, which the provider's list has in the window
    subjects: int = 0  # that ended in the window and had a task
    look_ups: int = 0
    # What could not be told, by why: tasks or subjects.
    untold: dict[str, int] = field(default_factory=dict)

    def leave_untold(self, why: str) -> None:
        """Count a task or a subject of which it cannot be told whether the two agree."""
        self.untold[why] = self.untold.get(why, 0) + 1

    def lines(self, most: int) -> Sequence[str]:
        """The report for people: at most so many differences, and so many foreign tasks."""
        return [
            *_some([str(found) for found in sorted(self.differences)], most),
            *_some([f"not ours: {_shown(task)}" for task in self.foreign], most),
            *(f"could not be told: {count} {why}" for why, count in sorted(self.untold.items())),
            self._summary(),
        ]

    def _summary(self) -> str:
        return (
            f"{len(self.differences)} differences: {self.subjects} subjects here, {self.tasks} "
            f"tasks of ours there, {len(self.foreign)} not ours, {self.look_ups} looked up"
        )


def billed_task(report: TaskReport) -> BilledTask:
    """What a report says of a task's cost."""
    return BilledTask(
        report.provider_task_id,
        report.external_task_id,
        report.status,
        parse_units(report.final_unit_deduction),
        report.updated_at or report.created_at,
    )


def compare(subject_id: str, held: BilledSubject | None, task: BilledTask) -> Difference | None:
    """What the two do not agree on, of a task that has ended and carries this id of ours; None if
    they agree."""
    if held is None:
        return Difference(
            DifferenceKind.MISSING_HERE, subject_id, f"there is no such subject; {_shown(task)}"
        )
    if held.provider_task_id != task.id:
        known = f"task {held.provider_task_id}" if held.provider_task_id else "no task"
        return Difference(
            DifferenceKind.MISSING_HERE, subject_id, f"its subject has {known}; {_shown(task)}"
        )
    if held.finished_at is None:
        return Difference(
            DifferenceKind.MISSING_HERE, subject_id, f"its subject has not ended; {_shown(task)}"
        )
    if held.units == task.units:
        return None
    return Difference(
        DifferenceKind.DEDUCTED_DIFFERENTLY,
        subject_id,
        f"{_units(held.units)} here, {_units(task.units)} there, task {task.id}",
    )


def is_silent(held: BilledSubject | None, task: BilledTask) -> bool:
    """Whether the list does not say what the task cost, and a look-up may: a failed task that we
    have no cost of either had none."""
    held_units = None if held is None else held.units
    return task.units is None and not (task.status is TaskStatus.FAILED and held_units is None)


def missing_there(held: BilledSubject, task: BilledTask | None) -> Difference:
    """Our subject's task is not in the provider's list; `task` is what a look-up found."""
    found = "a look-up finds none" if task is None else f"a look-up finds {_units(task.units)}"
    text = f"task {held.provider_task_id}, {_units(held.units)} here; not in its list, {found}"
    return Difference(DifferenceKind.MISSING_THERE, held.id, text)


def _shown(task: BilledTask) -> str:
    status = "unknown" if task.status is None else task.status.value
    named = task.external_id or "without an id of a caller's"
    return f"task {task.id}, {named}, {status}, {_units(task.units)}"


def _units(units: Decimal | None) -> str:
    return "unknown units" if units is None else f"{exact_text(units)} units"


def _some(lines: list[str], most: int) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], f"… and {more} more"] if more > 0 else lines
