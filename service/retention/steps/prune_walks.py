"""Pruning finished subjects, by outcome, and events about subscribers: by a walk over what is old,
which passes over what must be kept for now, and goes on where the round before ended."""

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from service.kit.database.connection import Connection
from service.resources import Resources
from service.retention.domain.kinds import OUTCOMES, Kind
from service.retention.steps.rounds import Round
from service.retention.store import old, removal, walks
from service.retention.store.walks import Walk
from service.usage.store import day_table

KINDS: Final = (*OUTCOMES.values(), Kind.SUBSCRIBER_EVENTS)
FIRST_BATCH: Final = 50  # subjects of a round's first transaction
MAX_BATCH: Final = 500
AIM: Final = 0.05  # seconds that a transaction should take: they have few deliveries or very many
FEW: Final = 500  # passed over: so many are looked at again each round
BEGIN_ANEW: Final = timedelta(hours=1)  # after which a walk that passed over more begins anew


async def prune(round_: Round, kind: Kind, before: datetime) -> None:
    """Delete what is old of a kind: what ended before a time, and is not to be kept."""
    walk, limit, more = None, FIRST_BATCH, True
    while more:
        async with round_.transaction() as tx:
            walk = walk or await _begin(tx, round_, kind)
            found = await old.page(tx, kind, walk, before, limit)
            ids = await old.removable(tx, kind, [id_ for id_, _ in found], before, lock=True)
            deleted = await _delete(tx, kind, ids)
            if found:
                walk = _further(walk, found, len(ids))
                await walks.write(tx, kind, walk)
        for pruned, number in deleted.items():
            round_.count(pruned, number)
        more = len(found) == limit
        limit = next_limit(limit, round_.took)


async def _begin(tx: Connection, round_: Round, kind: Kind) -> Walk:
    """The walk of the rounds before, or a new one."""
    walk = await walks.read(tx, kind)
    begun = walk and timedelta(0) <= round_.now - walk.began_at < BEGIN_ANEW
    return walk if walk and begun and walk.kept > FEW and not round_.by_hand else Walk(round_.now)


def _further(walk: Walk, found: list[tuple[str, datetime]], deleted: int) -> Walk:
    id_, ended_at = found[-1]
    kept = walk.kept + len(found) - deleted
    return replace(walk, after_at=ended_at, after_id=id_, kept=kept)


async def _delete(tx: Connection, kind: Kind, ids: list[str]) -> dict[Kind, int]:
    if not ids:
        return {}
    if kind is not Kind.SUBSCRIBER_EVENTS:
        await day_table.fold(tx, ids)
    return dict(await removal.delete(tx, kind, ids))


def next_limit(limit: int, took: float) -> int:
    """How many the next transaction looks at, once one of `limit` took so many seconds."""
    wanted = limit * min(2.0, AIM / max(took, 0.001))
    return max(10, min(MAX_BATCH, int(wanted)))


async def count(resources: Resources, kind: Kind, before: datetime) -> dict[Kind, int]:
    """What `prune` would delete; nothing is locked or changed."""
    walk, counts, more = Walk(before), dict.fromkeys((kind,), 0), True
    while more:
        async with resources.database.autocommit() as tx:
            found = await old.page(tx, kind, walk, before, MAX_BATCH)
            ids = await old.removable(tx, kind, [id_ for id_, _ in found], before, lock=False)
            for counted, number in (await removal.count(tx, kind, ids)).items():
                counts[counted] = counts.get(counted, 0) + number
        if found:
            walk = _further(walk, found, len(ids))
        more = len(found) == MAX_BATCH
    return counts
