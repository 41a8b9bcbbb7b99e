"""Readiness: whether Postgres, Redis and the provider can be used."""

import asyncio
from dataclasses import dataclass

import structlog

from service import job_queue
from service.accounts.store import api_keys
from service.kit.errors import TABLES_MISSING, Unavailable
from service.provider.steps.unreadable_answers import degraded_reason
from service.provider.store import unreadable_answers
from service.resources import Resources
from service.settings import Settings
from service.submission.store import provider_state

log = structlog.get_logger()

NOT_CONFIGURED = "not configured"  # what is optional, and is left out
REDIS_AWAY = "cannot be reached: jobs are not taken"
UNREACHED = ("does not answer in time", "ok")  # what is said of Postgres and the provider then


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a readiness check."""

    checks: dict[str, str]  # of postgres, redis, provider: "ok", NOT_CONFIGURED, or what is wrong

    @property
    def usable(self) -> bool:
        """Whether requests can be served: all that is needed is Postgres."""
        return self.checks["postgres"] == "ok"

    @property
    def status(self) -> str:
        """`ready`, `degraded` (work waits, and nothing is lost) or `unavailable`."""
        if not self.usable:
            return "unavailable"
        return "ready" if set(self.checks.values()) <= {"ok", NOT_CONFIGURED} else "degraded"


async def check_readiness(resources: Resources) -> Health:
    """Use Postgres as requests do, look at the queue of jobs, and read whether submission is
    stopped. Whatever fails is part of the result."""
    (postgres, provider), redis = await asyncio.gather(
        _postgres(resources), _redis(resources.settings)
    )
    return Health({"postgres": postgres, "redis": redis, "provider": provider})


class BoundedReadiness:
    """Readiness checks that are answered in time although what they try hangs. Each runs once at a
    time: who asks meanwhile waits for the same, so that probes never pile up."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._postgres: asyncio.Task[tuple[str, str]] | None = None
        self._redis: asyncio.Task[str] | None = None

    async def check(self, seconds: float) -> Health:
        """The result of check_readiness(); what has not answered within so many seconds counts as
        not reached."""
        if self._postgres is None or self._postgres.done():
            self._postgres = asyncio.create_task(_postgres(self._resources))
        if self._redis is None or self._redis.done():
            self._redis = asyncio.create_task(_redis(self._resources.settings))
        await asyncio.wait({self._postgres, self._redis}, timeout=seconds)
        postgres, provider = UNREACHED
        if self._postgres.done():
            postgres, provider = self._postgres.result()
        redis = self._redis.result() if self._redis.done() else REDIS_AWAY
        return Health({"postgres": postgres, "redis": redis, "provider": provider})

    async def close(self) -> None:
        """Cancel what is still being tried."""
        running = [task for task in (self._postgres, self._redis) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        return NOT_CONFIGURED
    if await job_queue.reachable(settings.redis_url, settings.queue_name):
        return "ok"
    return REDIS_AWAY


async def _postgres(resources: Resources) -> tuple[str, str]:
    """What the checks of Postgres and of the provider say. What is written is rolled back."""
    failing, provider = "cannot be reached", "ok"
    try:
        async with resources.database.transaction(commit=False) as tx:
            failing = "cannot be written to"
            id_ = resources.new_id("rdy")
            await api_keys.ensure_account(tx, account_id=id_, name=id_, now=resources.clock())
            state = await provider_state.read(tx)
            unreadable = degraded_reason(await unreadable_answers.read_count(tx), resources.clock())
    except Unavailable as error:
        return TABLES_MISSING if str(error) == TABLES_MISSING else failing, provider
    except Exception:
        log.exception("health", action="fault")
        return "cannot be used, see the log: has `callsheet migrate` run?", provider
    if state.stopped_code is not None:
        provider = f"submission is stopped by the provider's code {state.stopped_code}"
    elif unreadable is not None:
        provider = unreadable
    return "ok", provider
