"""The newest snapshot that this process has read."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import datetime, timedelta

from service.operations.domain.snapshot import Snapshot

FRESH_FOR = timedelta(seconds=1)


class SnapshotCache:
    """One for each process: however many readers come, one of them reads in each second."""

    def __init__(self) -> None:
        self.newest: Snapshot | None = None  # None: none was read yet, or there is none
        self._read_at: datetime | None = None  # None: never
        self._refresh: asyncio.Task[None] | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Whether `newest` was read just now."""
        return self._read_at is not None and abs(now - self._read_at) < FRESH_FOR

    def keep(self, snapshot: Snapshot | None, now: datetime) -> None:
        """Keep what was read now."""
        self.newest, self._read_at = snapshot, now

    async def refresh(
        self, read: Callable[[], Coroutine[None, None, None]], seconds: float
    ) -> None:
        """Wait for a task that reads, at most for so many seconds; it is begun if none is under
        way, and goes on when the wait is over. It must not raise."""
        if self._refresh is None or self._refresh.done():
            # In a context of its own: it reads for others too, not only for who came first.
            self._refresh = asyncio.create_task(read(), context=Context())
        await asyncio.wait({self._refresh}, timeout=seconds)

    async def close(self) -> None:
        """End the task that is under way, if there is one."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait({self._refresh})
