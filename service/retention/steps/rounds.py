"""A round of pruning: small transactions, one after the other, with a rest after each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from service.kit.database.connection import Connection
from service.metrics import PRUNED
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.store import rounds

ROUND_TIME: Final = 55.0  # seconds that a worker's round lasts at most
REST: Final = 9.0  # times what a transaction took, until the next: other work goes first
OLDEST_TRANSACTION: Final = timedelta(minutes=1)
PATIENCE: Final = 30.0  # seconds that a command waits for a worker that prunes
WAIT: Final = 0.05  # seconds between its tries
_PRUNED = {kind: PRUNED.labels(kind.value) for kind in Kind}

# Deletes in a transaction: how many rows, and whether there may be more.
Delete = Callable[[Connection], Awaitable[tuple[int, bool]]]


class RoundOver(Exception):
    """The round ends here. `reason` says why pruning pauses; None: the next round goes on, as this
    one has lasted long enough, or another process prunes."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class Round:
    """One round, and what it has pruned so far."""

    def __init__(self, resources: Resources, *, most: float | None, by_hand: bool) -> None:
        """It lasts `most` seconds at most (None: as long as it takes). `by_hand`: it waits for
        another process that prunes."""
        self.resources = resources
        self.now = resources.clock()  # as of which things are old
        self.by_hand = by_hand
        self.counts: Counter[Kind] = Counter()
        self._time = asyncio.get_running_loop().time
        self._ends_at = None if most is None else self._time() + most
        self.took = 0.0  # seconds of the last transaction
        self.stopped: str | None = None  # why pruning pauses, in words; None: it does not

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction in which nobody else prunes, after the rest that the one before has earned
        all others. RoundOver if nothing is to be pruned now."""
        await asyncio.sleep(self.took * REST)
        if self._ends_at is not None and self._time() >= self._ends_at:
            raise RoundOver
        give_up_at = self._time() + (PATIENCE if self.by_hand else 0.0)
        while True:
            began_at = self._time()
            async with self.resources.database.transaction() as tx:
                if await self._may_prune(tx):
                    yield tx
                    break
            if self._time() >= give_up_at:
                raise RoundOver
            await asyncio.sleep(WAIT)
        self.took = self._time() - began_at

    async def _may_prune(self, tx: Connection) -> bool:
        """Whether this transaction may prune; False while another process does. RoundOver while
        nobody is to: whatever is to stop pruning is asked here."""
        locked, oldest, at_home = await rounds.enter(tx, self.resources.home.fence)
        if not at_home:
            raise RoundOver("the database is a copy or was restored, and nobody has said which")
        if oldest > OLDEST_TRANSACTION:
            raise RoundOver(
                "a transaction is under way for more than a minute: until it ends, the space of "
                "what is deleted cannot be used again"
            )
        return locked

    def count(self, kind: Kind, number: int) -> None:
        """Count what a transaction has pruned, once it is committed."""
        if number:
            self.counts[kind] += number
            _PRUNED[kind].inc(number)

    async def delete(self, kind: Kind, delete: Delete) -> None:
        """Delete what there is of a kind, in as many transactions as it takes."""
        more = True
        while more:
            async with self.transaction() as tx:
                deleted, more = await delete(tx)
            self.count(kind, deleted)
