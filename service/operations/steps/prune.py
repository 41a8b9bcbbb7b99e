"""Pruning: once a minute one worker deletes old rows, and learns how long tasks take."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from service.accounts.store import actions
from service.callbacks.store import inbox
from service.intake.steps.earlier import KEY_TTL
from service.intake.store import idempotency
from service.kit.database.connection import Connection
from service.media.store import inline_media
from service.operations.store import holds, operations, snapshot
from service.operations.store import prune as prune_store
from service.reconciliation.steps.learn_durations import learn
from service.resources import Resources
from service.subscribers.store import signing_keys

INTERVAL = timedelta(minutes=1)
BATCH = 1000  # rows of one kind that one transaction deletes
SNAPSHOTS_KEPT = timedelta(hours=48)
MEDIA_GRACE = timedelta(minutes=10)  # media just uploaded may be about to be used


async def run_if_due(resources: Resources) -> None:
    """Prune, and learn the typical durations, unless a worker has done so within INTERVAL."""
    async with resources.database.autocommit() as tx:
        due = await prune_store.start_if_due(tx, resources.clock(), INTERVAL)
    if due:
        await prune(resources)
        await learn(resources)


async def prune(resources: Resources) -> None:
    """Delete media of ended subjects, old idempotency keys, expired signing keys, holds that are
    over, stages older than SNAPSHOTS_KEPT, callbacks older than the setting
    RETENTION_CALLBACKS_DAYS, and actions and bulk operations older than RETENTION_ACTIONS_DAYS."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        await inline_media.unlink_finished(tx)
        await inline_media.delete_unused(tx, now - MEDIA_GRACE)
        await idempotency.prune(tx, now - KEY_TTL)
        await signing_keys.delete_expired(tx, now)
        await holds.delete_expired(tx, now)
        await snapshot.prune(tx, now - SNAPSHOTS_KEPT, BATCH)
    days = resources.settings.retention_callbacks_days
    await _prune_old(resources, inbox.prune, now - timedelta(days=days))
    if days := resources.settings.retention_actions_days:
        for delete in (actions.prune, operations.prune):
            await _prune_old(resources, delete, now - timedelta(days=days))


async def _prune_old(
    resources: Resources,
    delete: Callable[[Connection, datetime, int], Awaitable[int]],
    before: datetime,
) -> None:
    """Delete rows from before a time, BATCH in each transaction; `delete` says how many it did."""
    deleted = BATCH
    while deleted == BATCH:
        async with resources.database.transaction() as tx:
            deleted = await delete(tx, before, BATCH)
