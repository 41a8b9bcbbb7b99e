"""When this process last reset the count of unreadable answers, so that it does so seldom."""

from datetime import datetime, timedelta

# A statement for each readable answer would cost more than it is worth.
RESET_INTERVAL = timedelta(seconds=10)


class UnreadableAnswerThrottle:
    """One for each process: it lets a readable answer reset the count once in RESET_INTERVAL."""

    def __init__(self) -> None:
        self._next_reset_at: datetime | None = None  # None: the next readable answer resets it

    def take_reset(self, now: datetime) -> bool:
        """Whether a readable answer that comes now is to reset the count; if so, none needs to for
        RESET_INTERVAL, unless `clear` is called."""
        if self._next_reset_at is not None and now < self._next_reset_at:
            return False
        self._next_reset_at = now + RESET_INTERVAL
        return True

    def clear(self) -> None:
        """Let the next readable answer reset the count."""
        self._next_reset_at = None
