"""How much room is left in the queues of accounts, for all web processes to agree on."""

from collections.abc import Collection
from datetime import datetime, timedelta

from service.store import entries
from service.store.database import Direct

FASTEST = 20_000  # subjects a second that no set of processes takes; measured: one takes 5,000
SLACK = 1000  # room for what is just being written
MOST_KNOWN = 10_000  # accounts that are remembered


class Queues:
    """Counts what an account has queued, and again by the time at which its queue could be full.

    A count reads as many index entries as are queued. So it is made seldom while there is much
    room, and by each transaction, one after the other, where there is little.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._roomy_until: dict[str, datetime] = {}

    async def room(self, tx: Direct, accounts: Collection[str], now: datetime) -> dict[str, int]:
        """How many more each of these may queue, where that might be less than is asked for."""
        unsure = [one for one in accounts if self._roomy_until.get(one, now) <= now]
        if not unsure:
            return {}
        room = {
            account_id: self.most - count
            for account_id, count in (await entries.queued(tx, unsure, self.most)).items()
        }
        for account_id, left in room.items():
            self._roomy_until[account_id] = now + timedelta(seconds=max(0, left - SLACK) / FASTEST)
        while len(self._roomy_until) > MOST_KNOWN:
            del self._roomy_until[next(iter(self._roomy_until))]
        return room
