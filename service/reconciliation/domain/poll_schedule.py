"""When the provider is polled for a task that it has not called back about.

Waits are in seconds, with chance (`dice`, in [0, 1)) as an argument.
"""

from collections.abc import Sequence
from typing import Final

from service.kit.backoff import MAX_DOUBLINGS, SPREAD, jittered

ENOUGH: Final = 20  # durations before anything is learnt from them
SHORTEST, LONGEST = 1.0, 3600.0  # seconds; of what is learnt
POLL_WIDENING: Final = 1.6
POLL_FLOOR: Final = 0.1  # a task that usually takes no time is still not asked for in a loop
POLL_CAP: Final = 300.0


def usual_duration(durations: Sequence[float]) -> float | None:
    """Seconds after which to ask for a task, learnt from how long others took; None if too few.

    Nine in ten ended within this, even where chance has a look-up come as early as it may: asking
    at the median would ask for every other task in vain.
    """
    if len(durations) < ENOUGH:
        return None
    nine_in_ten = sorted(durations)[(9 * len(durations) - 1) // 10]
    return round(min(max(nine_in_ten / (1 - SPREAD), SHORTEST), LONGEST), 1)


def poll_spacing(polls_made: int, usual: float, dice: float) -> float:
    """Seconds from the last look-up (or the submission) to the next one.

    The first comes near the usual duration, however long that is; then the gaps widen to a cap.
    """
    first = max(usual, POLL_FLOOR)
    if polls_made == 0:
        return jittered(first, SPREAD, dice)
    widened = first * POLL_WIDENING ** min(polls_made, MAX_DOUBLINGS)
    return jittered(min(widened, POLL_CAP / (1 + SPREAD)), SPREAD, dice)
