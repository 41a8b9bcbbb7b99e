"""The conditions that all that waits has in common, as this process read them last."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from service.installation.cache.home import Home
from service.installation.store import installation
from service.kit.database.database import Database
from service.operations.store import holds
from service.reconciliation.cache.typical_durations import DEFAULT_DURATIONS
from service.settings import Settings
from service.status.domain.conditions import Conditions
from service.status.store import workers
from service.submission.store import provider_state

MAX_AGE = timedelta(seconds=1)  # so that however much is read, this is read once a second


class ConditionsCache:
    """One for each process."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._read_at: datetime | None = None
        self._conditions: Conditions | None = None
        self._reading = asyncio.Lock()

    async def current(self, database: Database, now: datetime) -> Conditions:
        """The conditions, read anew if they are older than MAX_AGE. Whoever comes while they are
        being read waits for that."""
        conditions = self._fresh(now)
        if conditions is None:
            async with self._reading:
                conditions = self._fresh(now)
                if conditions is None:
                    conditions = self._conditions = await self._read(database, now)
                    self._read_at = now
        return conditions

    def _fresh(self, now: datetime) -> Conditions | None:
        if self._read_at is None or abs(now - self._read_at) >= MAX_AGE:
            return None
        return self._conditions

    async def _read(self, database: Database, now: datetime) -> Conditions:
        async with database.autocommit() as tx:
            provider = await provider_state.read(tx)
            holds_in_force = await holds.in_force(tx, now)
            worker_runs = await workers.worker_runs(tx)
            held = self._home.held_by(await installation.read(tx))
        durations: Mapping[str, float] = provider.typical_durations or {}
        return Conditions(
            worker_runs=worker_runs,
            sweep_interval=timedelta(seconds=self._settings.sweep_interval),
            holds=holds_in_force,
            stopped_code=provider.stopped_code,
            next_probe_at=provider.next_probe_at,
            learnt_limit=provider.parallel_limit,
            configured_limit=self._settings.provider_parallel,
            with_provider=provider.tasks,
            typical_durations={**DEFAULT_DURATIONS, **durations},
            installation=held,
        )
