"""Taking the snapshot, and reading the newest one: neither scrapes nor viewers cost the database
anything that grows with their number."""

from collections import Counter
from datetime import datetime, timedelta
from functools import partial

import structlog

from service.kit.database.connection import Connection
from service.kit.errors import Unavailable
from service.operations.domain.hold import HoldTarget
from service.operations.domain.snapshot import TAKEN_EVERY, Gauges, Snapshot
from service.operations.store import gauges as gauge_store
from service.operations.store import holds, waiting
from service.operations.store import snapshot as store
from service.resources import Resources
from service.retention.domain.retention import kept_for
from service.retention.store import oldest
from service.settings import Settings
from service.submission.domain.parallel_limit import current_limit
from service.submission.store import provider_state

log = structlog.get_logger()

STATEMENT_TIMEOUT = timedelta(seconds=5)  # while a snapshot is taken
MAX_WAIT = 0.5  # seconds that a reader waits for the database


async def current(resources: Resources) -> Snapshot | None:
    """The newest snapshot; None if this process has read none yet. It waits for MAX_WAIT at most,
    and never raises: while the database is away, it is the one that was read last.

    A reader who finds that the next one is due has it taken.
    """
    snapshots = resources.snapshots
    if not snapshots.is_fresh(resources.clock()):
        await snapshots.refresh(partial(_refresh, resources), MAX_WAIT)
    return snapshots.newest


async def _refresh(resources: Resources) -> None:
    try:
        newest = await _read(resources)
        due = newest is None or abs(resources.clock() - newest.taken_at) >= TAKEN_EVERY
        if due and await take_if_due(resources):
            await _read(resources)
    except Unavailable as error:
        log.warning("snapshot", action="snapshot_not_read", error=error.reason)
    except Exception:
        log.exception("snapshot", action="fault")


async def _read(resources: Resources) -> Snapshot | None:
    async with resources.database.autocommit() as tx:
        newest = await store.read(tx)
    resources.snapshots.keep(newest, resources.clock())
    return newest


async def take_if_due(resources: Resources) -> bool:
    """Take a snapshot, if one is due and no other process is about to take it; whether it was."""
    now = resources.clock()
    async with resources.database.relaxed() as tx:
        if not await store.start_if_due(tx, now):
            return False
    async with resources.database.transaction(commit=False) as tx:
        await gauge_store.limit_time(tx, STATEMENT_TIMEOUT)
        stages = await waiting.read(tx, now)
        gauges = await _gauges(tx, resources.settings, now)
    async with resources.database.relaxed() as tx:
        await store.write(tx, now, stages, gauges)
    return True


async def _gauges(tx: Connection, settings: Settings, now: datetime) -> Gauges:
    provider_parallel = settings.provider_parallel
    provider = await provider_state.read(tx)
    held = Counter(hold.what for hold in await holds.in_force(tx, now))
    ages = kept_for(settings)
    return Gauges(
        provider_slots_used=provider.tasks,
        provider_slots_limit=provider_parallel,
        provider_slots_learnt=current_limit(provider.parallel_limit, provider_parallel, now),
        submission_stopped_code=provider.stopped_code,
        subscribers=await gauge_store.subscribers(tx),
        table_bytes=await gauge_store.table_bytes(tx),
        oldest_transaction_at=await gauge_store.oldest_transaction_at(tx),
        holds={what: held[what] for what in HoldTarget},
        oldest_kept=await oldest.read(tx),
        kept_seconds={kind: age.total_seconds() if age else 0 for kind, age in ages.items()},
    )


async def sweep(resources: Resources) -> None:
    """Take the next snapshot, if it is due."""
    await take_if_due(resources)
