"""Retention settings that are too short: what is pruned must not be needed any more.

Idempotency keys, tries of a delivery and late callbacks all lead back to what ended before them.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from service.intake.domain.create_request import KEY_TTL
from service.kit.backoff import SPREAD
from service.retention.domain.kinds import OUTCOMES, Kind

DAY = timedelta(days=1)


def dedup_horizon(task_deadline: float) -> timedelta:
    """How long after a subject's end, or after an earlier callback, the provider's callbacks about
    it may still come. The provider does not say how long it tries (P92 in provider/README.md): a
    task that outlives its subject is given as long again as that had, `task_deadline` seconds."""
    return timedelta(seconds=task_deadline)


def floors(
    delivery_schedule: Sequence[float], task_deadline: float
) -> Mapping[Kind, tuple[timedelta, str]]:
    """The shortest time that each kind may be kept, and where it comes from, in words."""
    tried = timedelta(seconds=sum(delivery_schedule) * (1 + SPREAD))
    callbacks = (
        dedup_horizon(task_deadline),
        "so long the provider's callbacks may still come (TASK_DEADLINE)",
    )
    subjects = max(
        (KEY_TTL, "so long their idempotency keys are bound"),
        (tried, "so long their deliveries are tried (DELIVERY_SCHEDULE, with its jitter)"),
        callbacks,
    )
    return dict.fromkeys(OUTCOMES.values(), subjects) | {Kind.CALLBACKS: callbacks}


def in_days(floor: timedelta) -> int:
    """The least whole days that are no less than a floor."""
    return -(-floor // DAY)
