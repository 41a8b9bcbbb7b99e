"""How much room is left in the queues of accounts, for all web processes to agree on."""

from collections.abc import Collection
from datetime import datetime, timedelta

from service.store import entries
from service.store.database import Direct

FASTEST = 20_000  # subjects a second that no set of processes takes; measured: one takes 5,000
SLACK = 1000  # room for what is just being written
COUNTED = 100_000.0  # subjects in a second: a queue that is full is believed to be for as long as
CHEAP = 10_000  # it would take to count it so fast; up to these, counting costs nothing
MOST_KNOWN = 10_000  # accounts that are remembered


class Queues:
    """Counts what an account has queued, and again by the time at which its queue could be full.

    A count reads as many index entries as are queued. So it is made seldom while there is much
    room, and by each transaction, one after the other, where there is little. Where there is none
    it is made once a second, and not for everybody who comes again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[str, tuple[datetime, bool]] = {}  # until when, and whether it is full

    async def room(self, tx: Direct, accounts: Collection[str], now: datetime) -> dict[str, int]:
        """How many more each of these may queue, where that might be less than is asked for."""
        known = {one: self._believed(one, now) for one in accounts}
        room = {one: 0 for one, full in known.items() if full}
        unsure = [one for one, full in known.items() if full is None]
        if unsure:
            counts = await entries.queued(tx, unsure, self.most)
            room |= {one: self.most - count for one, count in counts.items()}
            self._known |= {one: (self._until(room[one], now), not room[one]) for one in counts}
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return room

    def _believed(self, account_id: str, now: datetime) -> bool | None:
        """Whether its queue is full; None if that must be found out. A clock that was set back does
        not make it believed for longer."""
        until, full = self._known.get(account_id, (now, False))
        longest = timedelta(seconds=max(1.0, self.most / FASTEST))
        return full if now < until <= now + longest else None

    def _until(self, room: int, now: datetime) -> datetime:
        if room:
            return now + timedelta(seconds=max(0, room - SLACK) / FASTEST)
        return now + timedelta(seconds=self.most / COUNTED if self.most > CHEAP else 0)
