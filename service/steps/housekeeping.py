"""Once a minute, Redis or no Redis: what nobody needs is forgotten, in small batches; from the rest
we learn."""

from datetime import timedelta

from service.core.poll_schedule import usual_duration
from service.steps.accept import KEY_LIFE
from service.steps.resources import Resources
from service.store import idempotency, inbox, media, provider, retired_keys

EVERY = timedelta(minutes=1)
BATCH = 1000
LOOK_BACK = 2000  # subjects that ended last
SAMPLES = 200  # successes of one reference type among them
MEDIA_GRACE = timedelta(minutes=10)  # media just brought may be about to be needed


async def sweep(resources: Resources) -> None:
    """Prune and learn, if no worker has done so within the minute."""
    async with resources.database.autocommit() as tx:
        due = await provider.begin_housekeeping(tx, resources.clock(), EVERY)
    if due:
        await prune(resources)
        await learn(resources)


async def prune(resources: Resources) -> None:
    """Drop media of ended subjects, old idempotency keys, keys that sign no more, and old raw
    callbacks."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        await media.release(tx)
        await media.drop_unused(tx, now - MEDIA_GRACE)
        await idempotency.prune(tx, now - KEY_LIFE)
        await retired_keys.prune(tx, now)
    kept_since = now - timedelta(days=resources.settings.retention_callbacks_days)
    while True:
        async with resources.database.transaction() as tx:
            if await inbox.prune(tx, kept_since, BATCH) < BATCH:
                return


async def learn(resources: Resources) -> None:
    """How long tasks take, for all workers to know."""
    async with resources.database.transaction() as tx:
        found = await provider.durations(tx, LOOK_BACK, SAMPLES)
        usual = {kind: usual_duration(durations) for kind, durations in found.items()}
        learnt = {kind: seconds for kind, seconds in usual.items() if seconds is not None}
        if learnt:
            await provider.learn_durations(tx, learnt)
