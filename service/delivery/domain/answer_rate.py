"""The rate at which each subscriber answers of late, as this process sees it."""

from datetime import datetime

MOST_KEPT = 10_000  # subscribers
RECENT = 10  # seconds; one that hangs is known by then, or its time-outs will tell
LEAST = 1.0  # deliveries a second: of one that has not answered at all


class ThroughputTracker:
    """Counts the good answers of each subscriber in whole seconds: the last full second and the
    present one tell its rate."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[int, int, int]] = {}  # second, its count, the one before's

    def count(self, subscriber_id: str, now: datetime) -> None:
        """Count one good answer of this subscriber."""
        second = int(now.timestamp())
        at, count, before = self._counted.get(subscriber_id, (second, 0, 0))
        if second != at:
            at, count, before = second, 0, count if second == at + 1 else 0
        if len(self._counted) >= MOST_KEPT and subscriber_id not in self._counted:
            self._counted.clear()
        self._counted[subscriber_id] = (at, count + 1, before)

    def rate(self, subscriber_id: str, now: datetime) -> float:
        """Deliveries a second that it answered, in the better of the last two seconds."""
        at, count, before = self._counted.get(subscriber_id, (0, 0, 0))
        return max(LEAST, count, before) if int(now.timestamp()) - at <= 1 else LEAST

    def proven(self, now: datetime) -> list[str]:
        """The ids of subscribers that have answered well in the last seconds."""
        second = int(now.timestamp())
        return [id_ for id_, (at, _, _) in self._counted.items() if second - at <= RECENT]
