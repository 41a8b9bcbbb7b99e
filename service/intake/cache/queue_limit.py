"""How many more subjects an account may queue: one bound that all web processes keep together."""

from collections.abc import Collection
from datetime import datetime, timedelta

from service.intake.store import insert
from service.kit.database.connection import Connection

MAX_INTAKE_RATE = (
    20_000  # subjects a second that no set of processes takes; measured: one takes 5,000
)
IN_FLIGHT = 1000  # subjects that may just be being written
COUNT_RATE = (
    100_000.0  # subjects counted in a second: a full queue is believed to be full for as long
)
CHEAP_COUNT = (
    10_000  # as counting it would take; a queue of up to CHEAP subjects is counted each time
)
MAX_ACCOUNTS = 10_000  # accounts that are remembered


class QueueLimit:
    """Counts the queued subjects of an account, and again when its queue could be full by then.

    A count reads as many index entries as there are queued subjects. So it is made seldom while
    much room is left, and by every transaction, one after the other, while little is left. A full
    queue is counted once a second, not for everybody who comes again.
    """

    def __init__(self, most: int) -> None:
        """`most` is how many subjects of one account may be queued."""
        self.limit = most
        self._known: dict[str, tuple[datetime, bool]] = {}  # until when, and whether it is full

    async def available(
        self, tx: Connection, account_ids: Collection[str], now: datetime
    ) -> dict[str, int]:
        """How many more subjects each account may queue. An account that is left out may queue
        more than any one transaction brings."""
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
        """Whether its queue is full; None if it must be counted. A clock that was set back does not
        make it believed for longer."""
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
