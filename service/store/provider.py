"""What all workers must know of the provider: whether it is stopped, its parallel limit, how often
it is asked, and how long its tasks take."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, literal_column, select, text, update

from service.core.lifecycle import CALLED_BACK, WITH_PROVIDER
from service.core.parallel_limit import ParallelLimit
from service.schema.base import one_of
from service.schema.provider import provider_state
from service.schema.subjects import subjects
from service.store.connection import Connection

# Claims are made one after the other: the number of free places is counted, then taken.
CLAIM_LOCK = 0x63616C6C_73686565  # any constant of our own; the letters of our name


@dataclass(frozen=True, slots=True)
class ProviderState:
    """`stopped_code` set: nothing is submitted, but for a probe when `next_probe_at` comes."""

    stopped_code: int | None
    stopped_message: str | None
    next_probe_at: datetime | None
    limit: ParallelLimit | None  # of tasks at once, learnt from refusals
    typical_durations: Mapping[str, float] | None  # seconds that a task takes, by reference type
    subjects: int  # how many of the parallel places are taken


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


async def go_on(tx: Connection) -> None:
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


async def running(tx: Connection, sent_at: datetime) -> int:
    """How many tasks the provider had when it was sent another at `sent_at`: those that it has
    taken, and those that were claimed before that one and are still in doubt."""
    counted: int = await tx.scalar(_RUNNING, {"sent_at": sent_at})
    return counted


async def learn_limit(tx: Connection, limit: ParallelLimit) -> None:
    values = {
        "observed_parallel_limit": limit.places,
        "parallel_limit_observed_at": limit.observed_at,
    }
    await tx.execute(update(provider_state).values(values))


_LOOK_UPS = select(
    select(func.count())
    .select_from(
        select(literal_column("1"))
        .select_from(subjects)
        .where(subjects.c.next_poll_at <= bindparam("now"))
        .limit(bindparam("limit"))
        .subquery()
    )
    .scalar_subquery(),
    provider_state.c.poll_rate_used_until,
)
_LOCK_LOOK_UPS = select(provider_state.c.poll_rate_used_until).with_for_update()


async def look_ups(tx: Connection, now: datetime, limit: int) -> tuple[int, datetime | None]:
    """How many subjects are due to be asked for, counted up to `limit`; and until when the
    look-ups made so far use up the permitted rate."""
    due, until = await tx.first(_LOOK_UPS, {"now": now, "limit": limit})
    return due, until


async def lock_look_ups(tx: Connection) -> datetime | None:
    """The same moment, which nobody else reads for spending until this transaction ends."""
    until: datetime | None = await tx.scalar(_LOCK_LOOK_UPS)
    return until


async def spend_look_ups(tx: Connection, until: datetime) -> None:
    await tx.execute(update(provider_state).values(poll_rate_used_until=until))


# By the provider's own times: when we heard of an end depends on what is to be learnt from it.
_DURATIONS = text("""
    SELECT kind, seconds FROM (
        SELECT kind, seconds, row_number() OVER (PARTITION BY kind ORDER BY finished_at DESC) AS nth
        FROM (
            SELECT document ->> 'reference_type' AS kind, finished_at, extract(epoch FROM
                CAST(result ->> 'provider_updated_at' AS timestamptz)
                - CAST(result ->> 'provider_created_at' AS timestamptz)
            ) AS seconds
            FROM subjects WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :look_back
        ) AS newest
        WHERE seconds >= 0
    ) AS counted
    WHERE nth <= :most
""")
_LEARN_DURATIONS = text("""
    UPDATE provider_state
    SET typical_durations = coalesce(typical_durations, '{}') || CAST(:learnt AS jsonb)
""")


async def durations(tx: Connection, look_back: int, most: int) -> dict[str, list[float]]:
    """Seconds that the newest successes took, by reference type, at most so many of each; found
    among so many of the subjects that ended last."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for kind, seconds in await tx.execute(_DURATIONS, {"look_back": look_back, "most": most}):
        found[kind].append(float(seconds))
    return dict(found)


async def learn_durations(tx: Connection, learnt: Mapping[str, float]) -> None:
    """Keep these; what is not among them stays as it was."""
    await tx.execute(_LEARN_DURATIONS, {"learnt": learnt})


# A moment of a clock that was ahead is not believed: it would put housekeeping off for as long.
_BEGIN_HOUSEKEEPING = text("""
    UPDATE provider_state SET housekeeping_started_at = :now
    WHERE housekeeping_started_at IS NULL OR housekeeping_started_at <= :since
    OR housekeeping_started_at > :until
    RETURNING id
""")


async def begin_housekeeping(tx: Connection, now: datetime, every: timedelta) -> bool:
    """Whether it is the caller's to do: once in so long a time, of all who ask one is told so."""
    values = {"now": now, "since": now - every, "until": now + every}
    return await tx.first(_BEGIN_HOUSEKEEPING, values) is not None
