"""A rate limit by the generic cell rate algorithm (GCRA; ITU-T I.371, annex A).

It works as a token bucket that holds a second's worth, but is kept as one moment: the time until
which the uses so far have used the rate up.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A permitted rate, and how far it has been used up."""

    rate: int  # uses a second
    # None: not used yet. Written by a clock that may be ahead of ours: no more than a second of it
    # counts, so that a wrong clock never stops anything for longer.
    used_until: datetime | None

    def available(self, now: datetime) -> int:
        """How many uses are permitted now."""
        return (now + SECOND - self._start(now)) * self.rate // SECOND

    def wait(self, count: int, now: datetime) -> float:
        """Seconds until `count` uses are permitted, or a full second's worth if that is fewer; from
        0 to 1."""
        free_at = self._start(now) + SECOND * min(count, self.rate) / self.rate - SECOND
        return max(0.0, (free_at - now).total_seconds())

    def spend(self, count: int, now: datetime) -> datetime:
        """The new `used_until` after `count` more uses."""
        return self._start(now) + SECOND * count / self.rate

    def _start(self, now: datetime) -> datetime:
        return now if self.used_until is None else min(max(self.used_until, now), now + SECOND)
