"""How many tasks the provider lets us run at once, learnt from its refusals (code 1303).

Additive increase, multiplicative decrease (D. Chiu and R. Jain, 1989): a pack that other clients
share too is given out anew every few seconds, and each settles near its part. The increase is a
function of time alone, so that nothing is written while nothing is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

REFUSAL_PAUSE = timedelta(seconds=1)  # after a refusal; the provider asks for a second at least
RECOVERY_TIME = 20.0  # seconds in which the limit grows from nothing to the most; ours
MIN_GROWTH = 1.0  # places a second, where the most is so small that they would be fewer; ours
DECREASE = 7 / 8  # of what was running when it was refused; ours
MAX_DECREASE = 1 / 2  # of the limit: so much is left of it, whatever one refusal says; ours


@dataclass(frozen=True, slots=True)
class ParallelLimit:
    """`places` is the limit at the moment of the last refusal, `observed_at`."""

    tasks: int
    observed_at: datetime


def current_limit(learnt: ParallelLimit | None, most: int, now: datetime) -> int:
    """How many tasks may run now: at most `most`, and at least one but for the pause.

    `observed_at` comes from a clock that may be ahead of ours: one that is so by more than the
    pause is not believed, and a wrong one never holds anything up for longer.
    """
    if learnt is None or learnt.observed_at > now + REFUSAL_PAUSE:
        return most
    growing = (now - learnt.observed_at - REFUSAL_PAUSE).total_seconds()
    if growing < 0:
        return min(most, learnt.tasks)
    grown = learnt.tasks + int(growing * max(MIN_GROWTH, most / RECOVERY_TIME))
    return min(most, max(1, grown))


def after_refusal(
    learnt: ParallelLimit | None, most: int, *, running: int, sent_at: datetime, now: datetime
) -> ParallelLimit:
    """What is known after one task, sent at `sent_at`, was refused although the provider had no
    more than `running` of ours.

    What was sent before the last refusal came is part of the same overload, and says nothing new.
    """
    if learnt is not None and sent_at <= learnt.observed_at <= now + REFUSAL_PAUSE:
        return learnt
    limit = current_limit(learnt, most, now)
    left = max(limit * MAX_DECREASE, min(limit, running) * DECREASE)
    return ParallelLimit(int(left), now)
