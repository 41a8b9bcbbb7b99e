"""The provider's parallel limit: how many tasks it runs at once, learnt from its refusals (code
1303, rule P56).

Additive increase, multiplicative decrease (D. Chiu and R. Jain, 1989): where other clients share
the limit, each settles near its part. The increase is a function of time alone, so that nothing is
written while nothing is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

REFUSAL_PAUSE = timedelta(seconds=1)  # no increase so soon after a refusal; rule P56
RECOVERY_TIME = 20.0  # seconds in which the limit grows from nothing to the configured one; ours
MIN_GROWTH = 1.0  # tasks a second that the limit grows by at least; ours
DECREASE = 7 / 8  # after a refusal: so much of what was running; ours
MAX_DECREASE = 1 / 2  # after a refusal: at least so much of the limit; ours


@dataclass(frozen=True, slots=True)
class ParallelLimit:
    """The limit that was learnt from a refusal."""

    tasks: int  # the limit at the moment of the refusal
    observed_at: datetime  # when the last refusal came


def current_limit(observed: ParallelLimit | None, configured: int, now: datetime) -> int:
    """How many tasks may run now: at most `configured`, and at least one but for the pause after a
    refusal.

    `observed_at` comes from a clock that may be ahead of ours: if it is by more than the pause, it
    is ignored, and so a wrong clock never stops submission for longer.
    """
    if observed is None or observed.observed_at > now + REFUSAL_PAUSE:
        return configured
    growing = (now - observed.observed_at - REFUSAL_PAUSE).total_seconds()
    if growing < 0:
        return min(configured, observed.tasks)
    grown = observed.tasks + int(growing * max(MIN_GROWTH, configured / RECOVERY_TIME))
    return min(configured, max(1, grown))


def after_refusal(
    observed: ParallelLimit | None,
    configured: int,
    *,
    running: int,
    sent_at: datetime,
    now: datetime,
) -> ParallelLimit:
    """The limit after a task that was sent at `sent_at` was refused, while the provider had no more
    than `running` tasks of ours.

    A task that was sent before the last refusal belongs to the same overload: it changes nothing.
    """
    if observed is not None and sent_at <= observed.observed_at <= now + REFUSAL_PAUSE:
        return observed
    limit = current_limit(observed, configured, now)
    lowered = max(limit * MAX_DECREASE, min(limit, running) * DECREASE)
    return ParallelLimit(int(lowered), now)
