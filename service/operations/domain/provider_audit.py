"""The audit against the provider: what it says of a task, held against the subject that we hold."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.operations.domain.audit_checks import ProviderCheck, Violation
from service.provider.domain.task_reports import TaskReport, TaskStatus
from service.subjects.domain.lifecycle import CALLED_BACK, TERMINAL, State

# What the one knows, the other may not know yet: a callback that was lost is made up for sooner.
SETTLED: Final = timedelta(minutes=10)
# The provider keeps tasks for 30 days (rule P36); what is nearly as old is not asked for.
KEPT: Final = timedelta(days=29)
# A task of a subject in one of these states has been taken by the provider, as far as we know.
TAKEN: Final = CALLED_BACK | {State.SUCCEEDED}


@dataclass(frozen=True, slots=True)
class HeldSubject:
    """What we hold of a subject."""

    id: str  # sub_…
    state: State
    provider_task_id: str | None  # None: we know of no task
    updated_at: datetime


def orphan(subject_id: str, report: TaskReport) -> Violation:
    """The task carries this id, and there is no such subject."""
    return Violation(ProviderCheck.ORPHAN_THERE, f"{subject_id}: none here, {_there(report)}")


def unknown_there(held: HeldSubject) -> Violation:
    """The provider does not know the task of a subject that it has taken."""
    known = f"task {held.provider_task_id}" if held.provider_task_id else "no task"
    return Violation(
        ProviderCheck.UNKNOWN_THERE, f"{held.id}: {held.state} here, {known}, unknown there"
    )


def lost_here(held: HeldSubject, report: TaskReport, now: datetime) -> Violation | None:
    """What the task came to and the subject did not; None if they agree, or may do so soon."""
    if not (_is_another_task(held, report) or _contradicts(held, report, now)):
        return None
    return Violation(ProviderCheck.LOST_HERE, f"{held.id}: {held.state} here, {_there(report)}")


def _there(report: TaskReport) -> str:
    return f"{report.status or 'unknown'} there, task {report.provider_task_id}"


def _is_another_task(held: HeldSubject, report: TaskReport) -> bool:
    return held.provider_task_id not in {None, report.provider_task_id}


def _contradicts(held: HeldSubject, report: TaskReport, now: datetime) -> bool:
    if held.state is State.CANCELED:
        return True
    if held.state in TERMINAL:
        ours = TaskStatus(held.state)
        # One that has ended here and not there may have been listed before it ended.
        return report.status is not ours and (
            ours is TaskStatus.FAILED or report.status is TaskStatus.FAILED
        )
    settled = max(report.updated_at or held.updated_at, held.updated_at) < now - SETTLED
    has_ended = report.status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}
    return settled and (has_ended or held.state not in CALLED_BACK)
