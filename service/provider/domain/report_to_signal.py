"""What the provider reports of a task, as news of a subject."""

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
    """What a provider's report says, as news; None for a word nobody knows, or for a success
    that does not say what was made: then the provider is asked again."""
    made = report.status is not TaskStatus.SUCCEEDED or report.result is not None
    if report.status is None or not made:
        return None
    error = {"code": "provider_failed", "message": report.message or "the provider gave no reason"}
    return StatusUpdate(
        SIGNAL_OF_STATUS[report.status],
        provider_task_id=report.provider_task_id,
        provider_updated_at=report.updated_at,
        result=report.result,
        error=error if report.status is TaskStatus.FAILED else None,
    )
