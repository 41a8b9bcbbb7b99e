"""Transactions on the connections of two pools, and what their sessions have set."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from service.kit.database.connection import Connection
from service.kit.database.pool import Pool, PoolTimeouts

STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(seconds=60)  # a process that hangs inside a transaction lets go
RELAXED_CONNECTIONS = 2  # connections; claims of deliveries use one at a time, look-ups of keys two
LISTENER_CONNECTIONS = 1  # connection, where somebody follows a feed: kit/database/listen.py
CONNECTIONS = 23  # of one process, all of these

# Every statement here has one good plan, row by row through an index: planning anew would cost more
# than running it, and a plan made while a table was empty would read all of it when full. So that
# it can use a partial index, a statement names the states it seeks, and has no parameter for them;
# and where it joins, it says of each large table by itself which rows are sought.
PLANNER_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def _milliseconds(duration: timedelta) -> str:
    return str(int(duration.total_seconds() * 1000))


SESSION_SETTINGS = {
    "application_name": "callsheet",
    "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
    "lock_timeout": _milliseconds(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
    "jit": "off",
    **PLANNER_SETTINGS,
}


class Database:
    """Connections to one Postgres, `connections` at most, and transactions on them.

    All raise Unavailable, if Postgres cannot be reached or is overburdened: then nothing is known
    to have happened, and every step here is safe to run again. Errors that do not come from
    Postgres, or the way to it, stay what they are.
    """

    def __init__(
        self, url: str, connections: int = CONNECTIONS, bounds: PoolTimeouts | None = None
    ) -> None:
        bounds = bounds or PoolTimeouts()
        self._pool = Pool(
            url,
            connections - RELAXED_CONNECTIONS - LISTENER_CONNECTIONS,
            bounds,
            **SESSION_SETTINGS,
        )
        relaxed = {**SESSION_SETTINGS, "synchronous_commit": "off"}
        self._relaxed = Pool(url, RELAXED_CONNECTIONS, bounds, **relaxed)

    @asynccontextmanager
    async def transaction(self, *, commit: bool = True) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any error. Without `commit` it is
        rolled back at the end too, and shows whether it could be made."""
        async with self._pool.connection() as tx, tx.transaction(commit=commit):
            yield tx

    def autocommit(self) -> AbstractAsyncContextManager[Connection]:
        """For a single statement: it is its own transaction, which saves two trips."""
        return self._pool.connection()

    def relaxed(self) -> AbstractAsyncContextManager[Connection]:
        """For statements that are transactions of their own and do not wait for the disk: what they
        do may be lost in a crash of Postgres without harm, as a claim whose work is done at least
        once."""
        return self._relaxed.connection()

    async def close(self) -> None:
        """End all connections."""
        await self._pool.close()
        await self._relaxed.close()
