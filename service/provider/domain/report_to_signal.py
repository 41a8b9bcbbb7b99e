"""From the provider's report on a task to the signal that moves its subject."""

from service.provider.domain.results import parse_units
from service.provider.domain.task_reports import TaskReport, TaskStatus
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate

SIGNAL_OF_STATUS = {
    TaskStatus.SUBMITTED: Signal.SUBMITTED,
    TaskStatus.PROCESSING: Signal.PROCESSING,
    TaskStatus.SUCCEEDED: Signal.SUCCEEDED,
    TaskStatus.FAILED: Signal.FAILED,
}


def status_update(report: TaskReport) -> StatusUpdate | None:
    """Turn a report into a subject's status update.

    None, after which the provider is asked again: the status is unknown (rule P30), or a success
    lacks the subject's id (rule P96).
    """
    incomplete = report.status is TaskStatus.SUCCEEDED and report.result is None
    if report.status is None or incomplete:
        return None
    error = {"code": "provider_failed", "message": report.message or "the provider gave no reason"}
    return StatusUpdate(
        SIGNAL_OF_STATUS[report.status],
        provider_task_id=report.provider_task_id,
        provider_updated_at=report.updated_at,
        result=report.result,
        error=error if report.status is TaskStatus.FAILED else None,  # rule P31
        units=parse_units(report.final_unit_deduction),
    )
