"""Retention settings that are too short: what is pruned must not be needed any more.

Idempotency keys, tries of a delivery and late callbacks all lead back to what ended before them.
"""

from collections.abc import Iterator, Sequence
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
) -> Iterator[tuple[Kind, timedelta, str]]:
    """The floors of what is kept: of each kind the shortest time, and where it comes from, in
    words. A kind may have several."""
    horizon = dedup_horizon(task_deadline)
    callbacks = "callbacks of the provider may come until then (TASK_DEADLINE)"
    tried = timedelta(seconds=sum(delivery_schedule) * (1 + SPREAD))
    for kind in OUTCOMES.values():
        yield kind, KEY_TTL, "idempotency keys are bound for 24 hours"
        yield kind, tried, "deliveries are tried until then (DELIVERY_SCHEDULE, with its jitter)"
        yield kind, horizon, callbacks
    yield Kind.CALLBACKS, horizon, callbacks


def in_days(floor: timedelta) -> int:
    """The least whole days that are no less than a floor."""
    return -(-floor // DAY)
