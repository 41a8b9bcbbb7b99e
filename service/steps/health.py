"""How we are: what is usable, and what only waits."""

from dataclasses import dataclass

from service.core.errors import Unavailable
from service.steps.resources import Resources
from service.steps.unreadable import trouble
from service.store import provider, unreadable


@dataclass(frozen=True, slots=True)
class Health:
    """`checks` says of each part, in words, how it is; "ok" if all is well."""

    checks: dict[str, str]

    @property
    def usable(self) -> bool:
        return self.checks["postgres"] == "ok"

    @property
    def status(self) -> str:
        if not self.usable:
            return "unavailable"
        return "ready" if set(self.checks.values()) == {"ok"} else "degraded"


async def look(resources: Resources) -> Health:
    """Ask Postgres and Redis, and read whether the provider is stopped."""
    postgres, stopped = "ok", "ok"
    try:
        async with resources.database.transaction() as tx:
            if not await provider.migrated(tx):
                postgres = "the tables are missing: run `callsheet migrate`"
            else:
                state = await provider.read(tx)
                if state.stopped_code is not None:
                    stopped = f"submission is stopped by the provider's code {state.stopped_code}"
                elif garbled := trouble(await unreadable.read(tx)):
                    stopped = garbled
    except Unavailable:
        postgres = "cannot be reached"
    redis = "ok" if await resources.queue.reachable() else "cannot be reached: work is swept up"
    return Health({"postgres": postgres, "redis": redis, "provider": stopped})
