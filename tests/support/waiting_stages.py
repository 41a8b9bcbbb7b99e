"""What a snapshot finds in the stages."""

from service.operations.domain.stages import Stage
from service.operations.store import waiting
from tests.support.api import Api


async def found_waiting(api: Api) -> dict[str, tuple[int, float]]:
    """By each stage in which something waits: how many items, and for how many seconds the oldest
    of them has waited."""
    now = api.resources.clock()
    async with api.resources.database.autocommit() as tx:
        found = await waiting.read(tx, now)
    assert set(found) == set(Stage)
    return {
        stage: (there.items, (now - there.oldest_at).total_seconds())
        for stage, there in found.items()
        if there.oldest_at is not None
    }
