"""When to try again: pure, in seconds, with chance (`dice`, in [0, 1)) and time as arguments."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Seconds, unless a setting says otherwise: the schedule that Standard Webhooks proposes.
DELIVERY_SCHEDULE: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
SPREAD: Final = 0.2  # of deliveries and look-ups, either way
RETRY_AFTER_CAP: Final = 3600.0  # or twice the planned wait, if that is more
ENOUGH: Final = 20  # durations before anything is learnt from them
SHORTEST, LONGEST = 1.0, 3600.0  # seconds; of what is learnt
POLL_WIDENING: Final = 1.6
POLL_FLOOR: Final = 0.1  # a task that usually takes no time is still not asked for in a loop
POLL_CAP: Final = 300.0
MAX_DOUBLINGS: Final = 1000  # 2.0 to the 1024th overflows; the cap is reached long before
MAX_RETRY_AFTER: Final = 64  # characters; the longest HTTP date has 33


def full_jitter(attempt: int, base: float, cap: float, dice: float) -> float:
    """Exponential back-off with full jitter: anywhere up to base x 2^attempt, at most cap.

    `attempt` counts from 0. The whole range is used so that those refused together do not come
    back together.
    """
    return dice * min(cap, base * 2.0 ** min(attempt, MAX_DOUBLINGS))


def jittered(delay: float, spread: float, dice: float) -> float:
    """The delay, moved by at most `spread` (0 to 1) of itself either way."""
    return delay * (1 + spread * (2 * dice - 1))


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


def retry_after_seconds(text: str | None, now: datetime) -> float | None:
    """A Retry-After header (RFC 9110, section 10.2.3): seconds or an HTTP date; None if neither.

    Never negative; a date that has passed is 0.
    """
    if text is None or len(text) > MAX_RETRY_AFTER or not text.isascii():
        return None
    text = text.strip(" \t")  # RFC 9110, section 5.6.3: no other space is one
    if text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # as asctime writes it, which is always UTC
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
