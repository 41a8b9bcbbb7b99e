"""Learning how long tasks typically take, from those that ended last."""

from service.reconciliation.domain.poll_schedule import typical_duration
from service.reconciliation.store import typical_durations
from service.resources import Resources

LOOK_BACK = 8000  # newest events, among whose subjects samples are sought; each has three or four
SAMPLES = 200  # successes of one reference type


async def learn(resources: Resources) -> None:
    """Learn typical durations, and save them for all workers."""
    async with resources.database.transaction() as tx:
        recent = await typical_durations.recent_durations(tx, LOOK_BACK, SAMPLES)
        typical = {type_: typical_duration(durations) for type_, durations in recent.items()}
        learnt = {type_: seconds for type_, seconds in typical.items() if seconds is not None}
        if learnt:
            await typical_durations.save(tx, learnt)
