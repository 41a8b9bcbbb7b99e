"""How we are: what is usable, and what only waits."""

import asyncio
from dataclasses import dataclass

import structlog

from service.accounts.store import api_keys
from service.kit.errors import TABLES_MISSING, Unavailable
from service.provider.steps.unreadable_answers import degraded_reason
from service.provider.store import unreadable_answers
from service.resources import Resources
from service.submission.store import provider_state

log = structlog.get_logger()


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


async def check_readiness(resources: Resources) -> Health:
    """Try what is needed of Postgres and Redis, and read whether the provider is stopped. Whatever
    goes wrong in it is a finding."""
    (postgres, stopped), heard = await asyncio.gather(
        _postgres(resources), resources.worker_notifier.reachable()
    )
    redis = "ok" if heard else "cannot be reached: work is swept up"
    return Health({"postgres": postgres, "redis": redis, "provider": stopped})


async def _postgres(resources: Resources) -> tuple[str, str]:
    """How Postgres is, and the provider as Postgres has it. What is written is rolled back."""
    failing, stopped = "cannot be reached", "ok"
    try:
        async with resources.database.transaction(commit=False) as tx:
            failing = "cannot be written to"
            id_ = resources.new_id("rdy")
            await api_keys.ensure_account(tx, account_id=id_, name=id_, now=resources.clock())
            state = await provider_state.read(tx)
            garbled = degraded_reason(await unreadable_answers.read_count(tx), resources.clock())
    except Unavailable as error:
        return TABLES_MISSING if str(error) == TABLES_MISSING else failing, stopped
    except Exception:
        log.exception("health", action="fault")
        return "cannot be used, see the log: has `callsheet migrate` run?", stopped
    if state.stopped_code is not None:
        stopped = f"submission is stopped by the provider's code {state.stopped_code}"
    elif garbled is not None:
        stopped = garbled
    return "ok", stopped
