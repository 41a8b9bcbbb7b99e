"""What all workers must know of the provider: whether it is stopped, and its parallel limit."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update

from service.core.lifecycle import WITH_PROVIDER
from service.store.database import Transaction
from service.store.tables import provider_state, subjects

# Claims are made one after the other: the number of free places is counted, then taken.
CLAIM_LOCK = 0x63616C6C_73686565  # any constant of our own; the letters of our name


@dataclass(frozen=True, slots=True)
class ProviderState:
    """`stopped_code` set: nothing is submitted, but for a probe when `next_probe_at` comes."""

    stopped_code: int | None
    stopped_message: str | None
    next_probe_at: datetime | None
    learnt_parallel: int | None
    learnt_until: datetime | None
    subjects: int  # how many of the parallel places are taken


_LOCK_CLAIMS = text("SELECT pg_advisory_xact_lock(:key)")
_READ = select(
    provider_state.c.stopped_code,
    provider_state.c.stopped_message,
    provider_state.c.next_probe_at,
    provider_state.c.learnt_parallel,
    provider_state.c.learnt_until,
    select(func.count())
    .select_from(subjects)
    .where(subjects.c.state.in_(sorted(WITH_PROVIDER)))
    .scalar_subquery(),
)


async def lock_claims(tx: Transaction) -> None:
    """Until this transaction ends, nobody else claims subjects."""
    await tx.execute(_LOCK_CLAIMS, {"key": CLAIM_LOCK})


async def read(tx: Transaction) -> ProviderState:
    return ProviderState(*(await tx.execute(_READ)).one())


async def stop(tx: Transaction, code: int, message: str, next_probe_at: datetime) -> None:
    await tx.execute(
        update(provider_state).values(
            stopped_code=code, stopped_message=message, next_probe_at=next_probe_at
        )
    )


async def go_on(tx: Transaction) -> None:
    await tx.execute(
        update(provider_state).values(stopped_code=None, stopped_message=None, next_probe_at=None)
    )


async def set_next_probe(tx: Transaction, at: datetime) -> None:
    await tx.execute(update(provider_state).values(next_probe_at=at))


async def learn_parallel(tx: Transaction, limit: int, until: datetime) -> None:
    await tx.execute(update(provider_state).values(learnt_parallel=limit, learnt_until=until))


async def migrated(tx: Transaction) -> bool:
    """Whether the tables are there at all."""
    found = await tx.execute(text("SELECT to_regclass('provider_state') IS NOT NULL"))
    return bool(found.scalar_one())
