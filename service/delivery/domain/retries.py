"""When a delivery that failed is tried again: the schedule, and a subscriber's Retry-After."""

from collections.abc import Sequence
from typing import Final

from service.kit.backoff import SPREAD, jittered

# Seconds, unless a setting says otherwise: the schedule that Standard Webhooks proposes.
DELIVERY_SCHEDULE: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
RETRY_AFTER_CAP: Final = 3600.0  # seconds; or twice the planned wait, if that is more


def next_delivery(
    schedule: Sequence[float], attempts_made: int, dice: float, retry_after: float | None
) -> float | None:
    """Seconds to the next attempt, None to give up: one after each entry of the schedule.

    `attempts_made` is at least 1: the first attempt is made at once, and asks nobody.

    A subscriber's Retry-After can only put the attempt off, and only so far.
    """
    if attempts_made > len(schedule):
        return None
    planned = schedule[attempts_made - 1]
    asked = min(retry_after or 0.0, max(2 * planned, RETRY_AFTER_CAP))
    return max(jittered(planned, SPREAD, dice), asked)
