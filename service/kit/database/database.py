"""A database: transactions on two connection pools, and the settings of their sessions."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from service.kit.database.connection import Connection
from service.kit.database.pool import Pool, PoolTimeouts

STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(seconds=20)  # then a process that hangs in a transaction loses it
CONNECTIONS = 23  # of one process, the next two kinds included
RELAXED_CONNECTIONS = 2  # for Database.relaxed
LISTENER_CONNECTIONS = 1  # for keep_listening(), which opens it by itself

# Every statement has one good plan, row by row through an index: to plan anew would cost more than
# to run it, and a plan made while a table was empty would scan all of it when full. So that a
# partial index serves it, a statement spells out the states it seeks, without a parameter for them;
# and a join says of each large table by itself which rows are sought.
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

    Each method raises Unavailable if Postgres cannot be reached or is overloaded: then it is not
    known whether anything happened, and the caller may do the same again.
    """

    def __init__(
        self, url: str, connections: int = CONNECTIONS, timeouts: PoolTimeouts | None = None
    ) -> None:
        timeouts = timeouts or PoolTimeouts()
        self._pool = Pool(
            url,
            connections - RELAXED_CONNECTIONS - LISTENER_CONNECTIONS,
            timeouts,
            **SESSION_SETTINGS,
        )
        relaxed = {**SESSION_SETTINGS, "synchronous_commit": "off"}
        self._relaxed = Pool(url, RELAXED_CONNECTIONS, timeouts, **relaxed)

    @asynccontextmanager
    async def transaction(self, *, commit: bool = True) -> AsyncIterator[Connection]:
        """A connection inside one transaction: committed at the end, rolled back on any error. If
        `commit` is false it is rolled back at the end too: a trial."""
        async with self._pool.connection() as tx, tx.transaction(commit=commit):
            yield tx

    def autocommit(self) -> AbstractAsyncContextManager[Connection]:
        """A connection on which each statement is its own transaction: saves a single one two round
        trips."""
        return self._pool.connection()

    def relaxed(self) -> AbstractAsyncContextManager[Connection]:
        """A connection on which each statement is its own transaction, and no commit waits for disk
        (synchronous_commit is off). For what a crash of Postgres may lose without harm, such as a
        claim under a lease."""
        return self._relaxed.connection()

    async def close(self) -> None:
        """End all connections."""
        await self._pool.close()
        await self._relaxed.close()
