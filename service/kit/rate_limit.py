"""A permitted rate, kept as one moment: that until which what was used so far uses it up.

The generic cell rate algorithm (ITU-T I.371, annex A), with a second's worth at once after a pause.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many uses a second. `until` comes from a clock that may be ahead of ours: it is believed
    as far as a second, so that a wrong one never stops anything for longer."""

    rate: int
    used_until: datetime | None

    def available(self, now: datetime) -> int:
        """How many may be used now."""
        return (now + SECOND - self._start(now)) * self.rate // SECOND

    def wait(self, wanted: int, now: datetime) -> float:
        """Seconds until so many may be used, or as many as ever may at once; at most 1."""
        free_at = self._start(now) + SECOND * min(wanted, self.rate) / self.rate - SECOND
        return max(0.0, (free_at - now).total_seconds())

    def spend(self, count: int, now: datetime) -> datetime:
        """The moment to keep after so many more were used."""
        return self._start(now) + SECOND * count / self.rate

    def _start(self, now: datetime) -> datetime:
        return now if self.used_until is None else min(max(self.used_until, now), now + SECOND)
