"""Once a minute, Redis or no Redis: what nobody needs is forgotten, in small batches; from the rest
we learn."""

from datetime import timedelta

from service.callbacks.store import inbox
from service.intake.steps.accept import KEY_TTL
from service.intake.store import idempotency
from service.media.store import inline_media
from service.operations.store import housekeeping
from service.reconciliation.steps.learn_durations import learn
from service.resources import Resources
from service.subscribers.store import signing_keys

EVERY = timedelta(minutes=1)
BATCH = 1000


MEDIA_GRACE = timedelta(minutes=10)  # media just brought may be about to be needed


async def sweep(resources: Resources) -> None:
    """Prune and learn, if no worker has done so within the minute."""
    async with resources.database.autocommit() as tx:
        due = await housekeeping.begin_housekeeping(tx, resources.clock(), EVERY)
    if due:
        await prune(resources)
        await learn(resources)


async def prune(resources: Resources) -> None:
    """Drop media of ended subjects, old idempotency keys, keys that sign no more, and old raw
    callbacks."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        await inline_media.unlink_finished(tx)
        await inline_media.delete_unused(tx, now - MEDIA_GRACE)
        await idempotency.prune(tx, now - KEY_TTL)
        await signing_keys.delete_expired(tx, now)
    kept_since = now - timedelta(days=resources.settings.retention_callbacks_days)
    while True:
        async with resources.database.transaction() as tx:
            if await inbox.prune(tx, kept_since, BATCH) < BATCH:
                return
