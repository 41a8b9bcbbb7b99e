"""Once a minute, Redis or no Redis: what nobody needs is forgotten, in small batches; from the rest
we learn."""

from service.reconciliation.domain.poll_schedule import typical_duration
from service.reconciliation.store import typical_durations
from service.resources import Resources
from service.submission.store import provider_state

LOOK_BACK = 2000  # subjects that ended last
SAMPLES = 200  # successes of one reference type among them


async def learn(resources: Resources) -> None:
    """How long tasks take, for all workers to know."""
    async with resources.database.transaction() as tx:
        found = await typical_durations.recent_durations(tx, LOOK_BACK, SAMPLES)
        usual = {kind: typical_duration(durations) for kind, durations in found.items()}
        learnt = {kind: seconds for kind, seconds in usual.items() if seconds is not None}
        if learnt:
            await provider_state.learn_durations(tx, learnt)
