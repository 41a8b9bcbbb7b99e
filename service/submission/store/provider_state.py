"""What all workers must know of the provider: whether it is stopped, its parallel limit, how often
it is asked, and how long its tasks take."""

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

# Claims are made one after the other: the number of free places is counted, then taken.
CLAIM_LOCK = 0x63616C6C_73686565  # any constant of our own; the letters of our name


@dataclass(frozen=True, slots=True)
class ProviderState:
    """`stopped_code` set: nothing is submitted, but for a probe when `next_probe_at` comes."""

    stopped_code: int | None
    stopped_message: str | None
    next_probe_at: datetime | None
    parallel_limit: ParallelLimit | None  # of tasks at once, learnt from refusals
    typical_durations: Mapping[str, float] | None  # seconds that a task takes, by reference type
    tasks: int  # how many of the parallel places are taken


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
    """Until this transaction ends, nobody else claims subjects."""
    await tx.execute(_LOCK_CLAIMS, {"key": CLAIM_LOCK})


async def read(tx: Connection) -> ProviderState:
    code, message, probe_at, parallel, at, usual, taken = await tx.first(_READ)
    return ProviderState(code, message, probe_at, _limit(parallel, at), usual, taken)


def _limit(parallel: int | None, at: datetime | None) -> ParallelLimit | None:
    return None if parallel is None or at is None else ParallelLimit(parallel, at)


async def stop(tx: Connection, code: int, message: str, next_probe_at: datetime) -> None:
    await tx.execute(
        update(provider_state).values(
            stopped_code=code, stopped_message=message, next_probe_at=next_probe_at
        )
    )


async def resume(tx: Connection) -> None:
    await tx.execute(
        update(provider_state).values(stopped_code=None, stopped_message=None, next_probe_at=None)
    )


async def set_next_probe(tx: Connection, at: datetime) -> None:
    await tx.execute(update(provider_state).values(next_probe_at=at))


_LOCK_LIMIT = select(
    provider_state.c.observed_parallel_limit, provider_state.c.parallel_limit_observed_at
).with_for_update()
_RUNNING = text(f"""
    SELECT count(*) FILTER (WHERE state IN ({one_of(CALLED_BACK)}) OR claimed_at < :sent_at)
    FROM subjects WHERE state IN ({one_of(WITH_PROVIDER)})
""")  # noqa: S608 - only our own states are put in


async def lock_limit(tx: Connection) -> ParallelLimit | None:
    """The parallel limit as learnt so far; nobody else changes it until this transaction ends."""
    return _limit(*await tx.first(_LOCK_LIMIT))


async def count_running(tx: Connection, sent_at: datetime) -> int:
    """How many tasks the provider had when it was sent another at `sent_at`: those that it has
    taken, and those that were claimed before that one and are still in doubt."""
    counted: int = await tx.scalar(_RUNNING, {"sent_at": sent_at})
    return counted


async def save_limit(tx: Connection, limit: ParallelLimit) -> None:
    values = {
        "observed_parallel_limit": limit.tasks,
        "parallel_limit_observed_at": limit.observed_at,
    }
    await tx.execute(update(provider_state).values(values))


_LEARN_DURATIONS = text("""
    UPDATE provider_state
    SET typical_durations = coalesce(typical_durations, '{}') || CAST(:learnt AS jsonb)
""")


async def learn_durations(tx: Connection, learnt: Mapping[str, float]) -> None:
    """Keep these; what is not among them stays as it was."""
    await tx.execute(_LEARN_DURATIONS, {"learnt": learnt})
