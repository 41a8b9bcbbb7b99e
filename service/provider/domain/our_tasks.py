"""Which of the provider's tasks were made by this service: they carry an id of our kind."""

import re

from service.kit.ids import ALPHABET, ID_LENGTH
from service.provider.domain.task_reports import TaskReport

_OUR_ID = re.compile(f"sub_[{ALPHABET}]{{{ID_LENGTH}}}")


def our_id(report: TaskReport) -> str | None:
    """The id of our kind that the task carries; None if it was made by something else."""
    external_id = report.external_task_id or ""
    return external_id if _OUR_ID.fullmatch(external_id) else None
