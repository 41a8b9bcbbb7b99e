"""Why subjects wait, by conditions that are read once a second at most."""

from service.resources import Resources
from service.status.domain.subject_why import subject_why
from service.subjects.domain.subject import WaitingView
from service.subjects.domain.why import Why


async def why(
    resources: Resources, subject: WaitingView, position: int | None = None
) -> Why | None:
    """Why a subject waits; None if it is finished. `position` is its place in its account's queue;
    None: it is not queued, or nobody has counted."""
    if subject.finished_at is not None:
        return None
    now = resources.clock()
    conditions = await resources.conditions.current(resources.database, now)
    return subject_why(subject, conditions, position, now)
