"""What all workers know of the provider: whether submission is stopped, and its parallel limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update

from service.kit.database.connection import Connection
from service.schema.base import one_of
from service.schema.provider import provider_state
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import CALLED_BACK, WITH_PROVIDER
from service.submission.domain.parallel_limit import ParallelLimit

# Claims are made one after the other: free slots are counted, then taken.
CLAIM_LOCK = 0x63616C6C_73686565  # any constant of our own; the letters of our name


@dataclass(frozen=True, slots=True)
class ProviderState:
    """The row of the table `provider_state`, and how many tasks are counted against the limit."""

    stopped_code: int | None  # the provider's code that stopped submission; None: not stopped
    stopped_message: str | None  # the provider's words with that code; None: not stopped
    next_probe_at: datetime | None  # while stopped: when one subject is sent as a probe
    parallel_limit: ParallelLimit | None  # as learnt from refusals; None: never refused
    # Seconds that a task takes, by reference type; None: nothing was learnt yet.
    typical_durations: Mapping[str, float] | None
    tasks: int  # subjects that count against the parallel limit


_LOCK_CLAIMS = text("SELECT pg_advisory_xact_lock(:key)")
_READ = select(
    provider_state.c.stopped_code,
    provider_state.c.stopped_message,
    provider_state.c.next_probe_at,
    provider_state.c.observed_parallel_limit,
    provider_state.c.parallel_limit_observed_at,
    provider_state.c.typical_durations,
    select(func.count())
    .select_from(subjects)
    .where(text(f"state IN ({one_of(WITH_PROVIDER)})"))
    .scalar_subquery(),
)


async def lock_claims(tx: Connection) -> None:
    """Keep others from claiming queued subjects until this transaction ends."""
    await tx.execute(_LOCK_CLAIMS, {"key": CLAIM_LOCK})


async def read(tx: Connection) -> ProviderState:
    """What is known of the provider now."""
    code, message, probe_at, limit, observed_at, durations, tasks = await tx.first(_READ)
    parallel_limit = _parallel_limit(limit, observed_at)
    return ProviderState(code, message, probe_at, parallel_limit, durations, tasks)


def _parallel_limit(tasks: int | None, observed_at: datetime | None) -> ParallelLimit | None:
    if tasks is None or observed_at is None:
        return None
    return ParallelLimit(tasks, observed_at)


async def stop(tx: Connection, code: int, message: str, next_probe_at: datetime) -> None:
    """Stop submission because of a code of the provider's; one probe may be sent at that time."""
    await tx.execute(
        update(provider_state).values(
            stopped_code=code, stopped_message=message, next_probe_at=next_probe_at
        )
    )


async def resume(tx: Connection) -> None:
    """Let submission go on."""
    await tx.execute(
        update(provider_state).values(stopped_code=None, stopped_message=None, next_probe_at=None)
    )


async def set_next_probe(tx: Connection, at: datetime) -> None:
    """Send no probe before `at`."""
    await tx.execute(update(provider_state).values(next_probe_at=at))


_LOCK_LIMIT = select(
    provider_state.c.observed_parallel_limit, provider_state.c.parallel_limit_observed_at
).with_for_update()
_RUNNING = text(f"""
    SELECT count(*) FILTER (WHERE state IN ({one_of(CALLED_BACK)}) OR claimed_at < :sent_at)
    FROM subjects WHERE state IN ({one_of(WITH_PROVIDER)})
""")  # noqa: S608 - only our own states are put in


async def lock_limit(tx: Connection) -> ParallelLimit | None:
    """The parallel limit as learnt so far, None if the provider never refused a task for it; nobody
    else changes it until this transaction ends."""
    return _parallel_limit(*await tx.first(_LOCK_LIMIT))


async def count_running(tx: Connection, sent_at: datetime) -> int:
    """How many tasks the provider may have had when it was sent another at `sent_at`: those that it
    accepted, and those that were claimed earlier and are not answered yet."""
    tasks: int = await tx.scalar(_RUNNING, {"sent_at": sent_at})
    return tasks


async def save_limit(tx: Connection, limit: ParallelLimit) -> None:
    """Keep a learnt parallel limit for all workers; the caller has locked it."""
    values = {
        "observed_parallel_limit": limit.tasks,
        "parallel_limit_observed_at": limit.observed_at,
    }
    await tx.execute(update(provider_state).values(values))
