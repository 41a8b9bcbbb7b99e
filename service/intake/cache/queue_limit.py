"""The limit of queued subjects of an account, which all processes keep together by counting."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from service.intake.store import insert
from service.kit.database.connection import Connection

MAX_INTAKE_RATE = 20_000  # subjects a second, over all processes; one was measured to take 5,000
IN_FLIGHT = 1000  # subjects that other transactions may be writing just now
COUNT_RATE = 100_000.0  # subjects that Postgres counts in a second
CHEAP_COUNT = 10_000  # a limit up to this is counted each time
MAX_ACCOUNTS = 10_000  # remembered in one process


class QueueLimit:
    """Counts the queued subjects of an account, and counts again when the queue could be full.

    A count reads as many index entries as there are queued subjects. So there are few while much
    room is left. While little is left each transaction counts, one after the other; and a long
    queue that is full is taken for full for as long as it takes to count it.
    """

    def __init__(self, limit: int) -> None:
        """At most `limit` subjects of one account may be queued."""
        self.limit = limit
        # By account id: until when no count is needed, and whether the queue is full until then.
        self._known: dict[str, tuple[datetime, bool]] = {}

    def must_count(self, account_ids: Iterable[str], now: datetime) -> bool:
        """Whether `available` will count, for which it needs a transaction."""
        return any(self._known_full(account_id, now) is None for account_id in account_ids)

    async def available(
        self, tx: Connection, account_ids: Collection[str], now: datetime
    ) -> dict[str, int]:
        """How many more subjects each account may queue; an account that is left out may queue as
        many as one transaction can hold."""
        known = {account_id: self._known_full(account_id, now) for account_id in account_ids}
        available = {account_id: 0 for account_id, full in known.items() if full}
        uncounted = [account_id for account_id, full in known.items() if full is None]
        if uncounted:
            counts = await insert.count_queued(tx, uncounted, self.limit)
            counted = {account_id: self.limit - count for account_id, count in counts.items()}
            self._remember(counted, now)
            available |= counted
        return available

    def _known_full(self, account_id: str, now: datetime) -> bool | None:
        """Whether an account's queue is full; None if it must be counted. What was counted is not
        used for longer when the clock is set back."""
        until, full = self._known.get(account_id, (now, False))
        longest = timedelta(seconds=max(1.0, self.limit / MAX_INTAKE_RATE))
        return full if now < until <= now + longest else None

    def _remember(self, counted: dict[str, int], now: datetime) -> None:
        for account_id, available in counted.items():
            self._known[account_id] = self._known_until(available, now), not available
        while len(self._known) > MAX_ACCOUNTS:
            del self._known[next(iter(self._known))]

    def _known_until(self, available: int, now: datetime) -> datetime:
        if available:
            return now + timedelta(seconds=max(0, available - IN_FLIGHT) / MAX_INTAKE_RATE)
        return now + timedelta(seconds=self.limit / COUNT_RATE if self.limit > CHEAP_COUNT else 0)
