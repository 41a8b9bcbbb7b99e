"""Throughput: the rate at which each subscriber has answered this process of late."""

from datetime import datetime

# Deliveries to one subscriber that may be under way at once, over all workers.
INITIAL_CONCURRENCY = 8
RESPONSIVE_CONCURRENCY = 128  # to one that has answered this worker of late
MAX_TRACKED = 10_000  # subscribers
RECENT = 10  # seconds; a subscriber that hangs is known by then, or its time-outs will tell
MIN_THROUGHPUT = 1.0  # deliveries a second: of a subscriber that has not answered at all


class ThroughputTracker:
    """Counts each subscriber's successful answers in whole seconds, and remembers the last two."""

    def __init__(self) -> None:
        # By subscriber id: the second, its count, and the count of the second before.
        self._counts: dict[str, tuple[int, int, int]] = {}

    def count(self, subscriber_id: str, now: datetime) -> None:
        """Count one successful answer of this subscriber."""
        this_second = int(now.timestamp())
        second, count, previous = self._counts.get(subscriber_id, (this_second, 0, 0))
        if this_second != second:
            previous = count if this_second == second + 1 else 0
            second, count = this_second, 0
        if len(self._counts) >= MAX_TRACKED and subscriber_id not in self._counts:
            self._counts.clear()
        self._counts[subscriber_id] = (second, count + 1, previous)

    def rate(self, subscriber_id: str, now: datetime) -> float:
        """Deliveries a second that the subscriber answered: the better of the last two seconds, and
        at least MIN_THROUGHPUT."""
        second, count, previous = self._counts.get(subscriber_id, (0, 0, 0))
        recent = int(now.timestamp()) - second <= 1
        return max(MIN_THROUGHPUT, count, previous) if recent else MIN_THROUGHPUT

    def responsive(self, now: datetime) -> list[str]:
        """The ids of subscribers that have answered successfully within RECENT seconds."""
        this_second = int(now.timestamp())
        return [id_ for id_, (second, *_) in self._counts.items() if this_second - second <= RECENT]
