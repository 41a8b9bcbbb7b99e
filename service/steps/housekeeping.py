"""Forgetting what nobody needs any more, in small batches."""

from datetime import timedelta

from service.steps.intake import KEY_LIFE
from service.steps.resources import Resources
from service.store import callbacks, idempotency, media

BATCH = 1000
MEDIA_GRACE = timedelta(minutes=10)  # media just brought may be about to be needed


async def prune(resources: Resources) -> None:
    """Drop media of ended subjects, old idempotency keys and old raw callbacks."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        await media.release(tx)
        await media.drop_unused(tx, now - MEDIA_GRACE)
        await idempotency.prune(tx, now - KEY_LIFE)
    kept_since = now - timedelta(days=resources.settings.retention_days)
    while True:
        async with resources.database.transaction() as tx:
            if await callbacks.prune(tx, kept_since, BATCH) < BATCH:
                return
