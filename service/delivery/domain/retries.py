"""The retry schedule of deliveries: backoff with jitter, and a subscriber's Retry-After."""

from collections.abc import Sequence
from typing import Final

from service.kit.backoff import SPREAD, jittered

# Seconds, unless a setting says otherwise: the schedule that Standard Webhooks proposes.
DELIVERY_SCHEDULE: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
RETRY_AFTER_CAP: Final = 3600.0  # seconds; or twice the planned wait, if that is more


def retry_delay(
    schedule: Sequence[float], attempts_made: int, random: float, retry_after: float | None
) -> float | None:
    """Seconds from an attempt that failed to the next one; None if the schedule is at an end.

    `attempts_made` is at least 1: the first attempt is made at once. `random` is a random number in
    [0, 1). `retry_after` is what the subscriber asked for, in seconds, or None: it can only put the
    attempt off, and by RETRY_AFTER_CAP or twice the planned wait at most.
    """
    if attempts_made > len(schedule):
        return None
    planned = schedule[attempts_made - 1]
    requested = min(retry_after or 0.0, max(2 * planned, RETRY_AFTER_CAP))
    return max(jittered(planned, SPREAD, random), requested)
