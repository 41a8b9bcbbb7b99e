"""Readiness: whether Postgres, Redis and the provider can be used, and what is held: by
operators, or all, as the database is a copy or was restored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from service import job_queue
from service.accounts.store import api_keys
from service.installation.store import installation
from service.kit.errors import TABLES_MISSING, Unavailable
from service.kit.timestamps import format_rfc3339
from service.operations.domain.hold import Hold
from service.operations.store import holds
from service.provider.steps.unreadable_answers import degraded_reason
from service.provider.store import unreadable_answers
from service.resources import Resources
from service.settings import Settings
from service.submission.store import provider_state

log = structlog.get_logger()

NOT_CONFIGURED = "not configured"  # what is optional, and is left out
REDIS_AWAY = "cannot be reached: jobs are not taken"
# What is said of Postgres, and of what is read from it, then.
UNREACHED = {
    "postgres": "does not answer in time",
    "provider": "ok",
    "holds": "ok",
    "installation": "ok",
}


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a readiness check."""

    # Of postgres, redis, provider, holds and installation: "ok", NOT_CONFIGURED, or what is wrong.
    checks: dict[str, str]

    @property
    def usable(self) -> bool:
        """Whether requests can be served: all that is needed is Postgres."""
        return self.checks["postgres"] == "ok"

    @property
    def status(self) -> str:
        """`ready`, `degraded` (work waits, and nothing is lost), `held` (all of it waits, until
        somebody says what the database is) or `unavailable`."""
        if not self.usable:
            return "unavailable"
        if self.checks["installation"] != "ok":
            return "held"
        return "ready" if set(self.checks.values()) <= {"ok", NOT_CONFIGURED} else "degraded"


async def check_readiness(resources: Resources) -> Health:
    """Use Postgres as requests do, look at the queue of jobs, and read whether submission is
    stopped, and what is held. Whatever fails is part of the result."""
    checks, redis = await asyncio.gather(_postgres(resources), _redis(resources.settings))
    return Health(checks | {"redis": redis})


class BoundedReadiness:
    """Readiness checks that are answered in time although what they try hangs. Each runs once at a
    time: who asks meanwhile waits for the same, so that probes never pile up."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._postgres: asyncio.Task[dict[str, str]] | None = None
        self._redis: asyncio.Task[str] | None = None

    async def check(self, seconds: float) -> Health:
        """The result of check_readiness(); what has not answered within so many seconds counts as
        not reached."""
        if self._postgres is None or self._postgres.done():
            self._postgres = asyncio.create_task(_postgres(self._resources))
        if self._redis is None or self._redis.done():
            self._redis = asyncio.create_task(_redis(self._resources.settings))
        # Those that this caller waits for: when they are done, another may begin the next at once.
        postgres, redis = self._postgres, self._redis
        await asyncio.wait({postgres, redis}, timeout=seconds)
        checks = postgres.result() if postgres.done() else UNREACHED
        return Health(checks | {"redis": redis.result() if redis.done() else REDIS_AWAY})

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


async def _postgres(resources: Resources) -> dict[str, str]:
    """What the checks of Postgres, of the provider and of holds say. What is written is rolled
    back."""
    failing = "cannot be reached"
    try:
        async with resources.database.transaction(commit=False) as tx:
            failing = "cannot be written to"
            id_ = resources.new_id("rdy")
            await api_keys.ensure_account(tx, account_id=id_, name=id_, now=resources.clock())
            state = await provider_state.read(tx)
            unreadable = degraded_reason(await unreadable_answers.read_count(tx), resources.clock())
            held = _held(await holds.in_force(tx, resources.clock()))
            held_copy = resources.home.held_by(await installation.read(tx))
    except Unavailable as error:
        failed = TABLES_MISSING if str(error) == TABLES_MISSING else failing
        return UNREACHED | {"postgres": failed}
    except Exception:
        log.exception("health", action="fault")
        failed = "cannot be used, see the log: has `callsheet migrate` run?"
        return UNREACHED | {"postgres": failed}
    provider = unreadable or "ok"
    if state.stopped_code is not None:
        provider = f"submission is stopped by the provider's code {state.stopped_code}"
    return {
        "postgres": "ok",
        "provider": provider,
        "holds": held,
        "installation": "ok" if held_copy is None else held_copy.text,
    }


def _held(in_force: Sequence[Hold]) -> str:
    """What is held for every account, with its end. Everybody reads this: so neither reasons nor
    names of accounts are in it, and a hold of one account is nothing that others need to know."""
    held = [
        f"{hold.what} until {format_rfc3339(hold.until) or 'released'}"
        for hold in in_force
        if hold.account_id is None
    ]
    return f"held: {', '.join(held)}" if held else "ok"
