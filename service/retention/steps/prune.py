"""Pruning: once a minute one worker deletes what is older than it is kept, in small transactions
with a rest after each; learns how long tasks take, and sums up the usage of days that are over.

Each transaction commits by itself and takes an advisory lock first: so two processes never prune
at once, and a round that is cut off is gone on with by the next. Nobody is told of what goes.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.accounts.store import actions
from service.callbacks.store import inbox
from service.installation.store import installation
from service.intake.domain.create_request import KEY_TTL
from service.intake.store import idempotency
from service.kit.database.connection import Connection
from service.media.store import inline_media
from service.operations.store import holds, operations, snapshot
from service.reconciliation.steps.learn_durations import learn
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.domain.retention import kept_for
from service.retention.steps import prune_walks
from service.retention.steps.rounds import ROUND_TIME, Round, RoundOver
from service.retention.store import answers, rounds
from service.retention.store import counts as count_store
from service.subscribers.store import signing_keys
from service.usage.steps.reckon import reckon

log = structlog.get_logger()

INTERVAL = timedelta(minutes=1)
BATCH = 1000  # rows of one kind that one transaction deletes
MEDIA_GRACE = timedelta(minutes=10)  # media just uploaded may be about to be used

# Deletes the oldest rows from before a time, at most so many; how many these were.
Delete = Callable[[Connection, datetime, int], Awaitable[int]]
OLD_ROWS: Mapping[Kind, Delete] = {
    Kind.ANSWERS: answers.empty,
    Kind.CALLBACKS: inbox.prune,
    Kind.ACTIONS: actions.prune,
    Kind.OPERATIONS: operations.prune,
    Kind.SNAPSHOT: snapshot.prune,
}


async def run_if_due(resources: Resources) -> None:
    """Prune, learn the typical durations, and sum up the usage of days that are over, unless a
    worker has done so within INTERVAL. A round ends before the next is due, and that one
    goes on."""
    async with resources.database.autocommit() as tx:
        due = await rounds.start_if_due(tx, resources.home.fence, resources.clock(), INTERVAL)
    if due:
        await prune(resources, most=ROUND_TIME)
        await learn(resources)
        await reckon(resources)


async def prune(
    resources: Resources, *, most: float | None = None, actor: Actor | None = None
) -> Round:
    """Prune all that is old enough; the round, with how many of each kind went. It ends early after
    `most` seconds (None: never), and where pruning is to pause.

    With an `actor`, which the action log has, it is by hand: what earlier rounds passed over is
    looked at again, and a process that prunes at the same time is waited for.
    """
    round_ = Round(resources, most=most, by_hand=actor is not None)
    if actor is not None:  # a command, which has not looked yet
        async with resources.database.autocommit() as tx:
            resources.home.see(await installation.read(tx))
            await action_log.record(tx, resources, actor, Action(ActionKind.PRUNED))
    try:
        await _prune_all(round_)
    except RoundOver as end:
        round_.stopped = end.reason
    await _note_pause(resources, round_.stopped)
    return round_


async def count(resources: Resources) -> Mapping[Kind, int]:
    """How many of each kind `prune` would take; nothing is changed."""
    now = resources.clock()
    ages = kept_for(resources.settings)
    before = {kind: now - age for kind in OLD_ROWS if (age := ages[kind])}
    before |= {Kind.KEYS: now - KEY_TTL, Kind.MEDIA: now - MEDIA_GRACE}
    before |= {Kind.SIGNING_KEYS: now, Kind.HOLDS: now}
    counts = Counter[Kind]()
    async with resources.database.autocommit() as tx:
        for kind, moment in before.items():
            counts[kind] = await count_store.count(tx, kind, moment)
    for kind in prune_walks.KINDS:
        if age := ages[kind]:
            counts.update(await prune_walks.count(resources, kind, now - age))
    return counts


async def _prune_all(round_: Round) -> None:
    now = round_.now
    await round_.delete(Kind.KEYS, partial(_limited, idempotency.prune, now - KEY_TTL))
    for kind, delete in _SMALL.items():
        await round_.delete(kind, partial(delete, now))
    ages = kept_for(round_.resources.settings)
    for kind, delete_old in OLD_ROWS.items():
        if age := ages[kind]:
            await round_.delete(kind, partial(_limited, delete_old, now - age))
    for kind in prune_walks.KINDS:
        if age := ages[kind]:
            await prune_walks.prune(round_, kind, now - age)


async def _limited(delete: Delete, before: datetime, tx: Connection) -> tuple[int, bool]:
    """What one transaction deletes, and whether there may be more."""
    deleted = await delete(tx, before, BATCH)
    return deleted, deleted >= BATCH


async def _media(now: datetime, tx: Connection) -> tuple[int, bool]:
    await inline_media.unlink_finished(tx)
    return await inline_media.delete_unused(tx, now - MEDIA_GRACE), False


async def _signing_keys(now: datetime, tx: Connection) -> tuple[int, bool]:
    return await signing_keys.delete_expired(tx, now), False


async def _holds(now: datetime, tx: Connection) -> tuple[int, bool]:
    return await holds.delete_expired(tx, now), False


# Kinds of which there are always few.
_SMALL = {Kind.MEDIA: _media, Kind.SIGNING_KEYS: _signing_keys, Kind.HOLDS: _holds}


async def _note_pause(resources: Resources, reason: str | None) -> None:
    """Log once that pruning pauses, by whichever worker, and once that it goes on."""
    async with resources.database.autocommit() as tx:
        changed = await rounds.note_pause(tx, reason)
    if changed and reason:
        log.warning("retention", action="pruning_paused", reason=reason)
    elif changed:
        log.info("retention", action="pruning_resumed")
