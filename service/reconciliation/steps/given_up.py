"""What subjects that are given up at their deadline waited for, for the log."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import structlog

from service.kit.errors import Unavailable
from service.resources import Resources
from service.status.domain.subject_why import subject_why
from service.subjects.domain.why import WhyCode
from service.subjects.store import subjects

log = structlog.get_logger()

BATCH_SIZE = 100  # subjects that are read together, and share a line for each code: 4 kB
BEFORE = timedelta(milliseconds=1)  # the deadline, at which the wait is another


async def log_given_up(resources: Resources, ids: Sequence[str]) -> None:
    """Log why the subjects of these ids waited when their deadline came. A fault of that keeps none
    from its end."""
    try:
        for start in range(0, len(ids), BATCH_SIZE):
            await _log(resources, ids[start : start + BATCH_SIZE])
    except Unavailable:
        raise
    except Exception:
        log.exception("subject", action="fault")


async def _log(resources: Resources, ids: Sequence[str]) -> None:
    async with resources.database.autocommit() as tx:
        found = await subjects.views_by_ids(tx, ids)
    conditions = await resources.conditions.current(resources.database, resources.clock())
    given_up: defaultdict[WhyCode, list[str]] = defaultdict(list)
    for subject in found:
        why = subject_why(subject, conditions, None, subject.deadline - BEFORE)
        if why is not None:
            given_up[why.code].append(subject.id)
    for code, subject_ids in given_up.items():
        log.warning("subject", action="given_up", why=code.value, subjects=subject_ids)
