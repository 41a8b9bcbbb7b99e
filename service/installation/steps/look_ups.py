"""Lets every unfinished subject of a restored database be looked up at the provider, by our id,
before it may be submitted or given up: in the minutes that the restore has lost, it may have been
submitted, and it may have ended.

A queued subject becomes an unconfirmed one, which the reconciliation asks about, and which is
queued again once the provider says that it has no such task. So nothing more than these rows has to
be remembered, whatever happens to the process that writes them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from service.installation.domain.installation import Installation
from service.installation.steps.unchanged import lock_unchanged
from service.installation.store import look_ups
from service.kit.database.connection import Connection
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import log_transitions, transition_all_in

BATCH = 500  # subjects of a transaction, for some tens of milliseconds
LEAST_TIME = timedelta(minutes=5)  # that all look-ups are given before deadlines count again


@dataclass(frozen=True, slots=True)
class LookUpsDue:
    """What is to be looked up before anything else."""

    may_have_been_sent: int  # subjects that were queued, or were being sent, and became unconfirmed
    asked_about: int  # subjects that the provider is asked about, these included
    put_off: int  # deadlines that were put off until all have been asked about


async def look_up_everything(resources: Resources, found: Installation) -> LookUpsDue:
    """Let the provider be asked now about every subject that it has, or may have, and put off the
    deadlines that would pass before it can have answered. Safe to run again, also after it was
    interrupted: then the numbers are of what was left to do. Nothing is asked here. Overtaken if
    the installation does not stand any more as it was found."""
    doubted = await _doubt(resources, found)
    now = resources.clock()
    await _in_batches(resources, found, lambda tx: look_ups.ask_at(tx, now, BATCH))
    async with resources.database.autocommit() as tx:
        asked = await look_ups.count_asked_about(tx, now)
    until = now + LEAST_TIME + timedelta(seconds=2 * asked / resources.settings.polls_per_second)
    put_off = await _in_batches(
        resources, found, lambda tx: look_ups.put_off_deadlines(tx, until, BATCH)
    )
    return LookUpsDue(doubted, asked, put_off)


async def _doubt(resources: Resources, found: Installation) -> int:
    """Make every subject unconfirmed that nobody asks about; how many these were."""
    total, ids = 0, [""]
    while ids:  # callbacks are taken in meanwhile, and may have moved some of a batch
        async with resources.database.transaction() as tx:
            await lock_unchanged(tx, found)
            ids = await look_ups.not_asked_about(tx, BATCH)
            moves = await transition_all_in(resources, tx, ids, _restored, SignalSource.OPERATOR)
            await look_ups.forget_claims(tx, ids, resources.clock())
        log_transitions(moves)
        total += len(moves)
    return total


def _restored(subject: Subject) -> StatusUpdate | None:
    """RESTORED, of one that nobody asks about; None if it has moved on meanwhile."""
    return StatusUpdate(Signal.RESTORED) if subject.state in look_ups.NOT_ASKED else None


async def _in_batches(
    resources: Resources, found: Installation, batch: Callable[[Connection], Awaitable[int]]
) -> int:
    """Run `batch` in a transaction of its own again and again, until one changes nothing; how many
    rows all have changed."""
    total, changed = 0, 1
    while changed:
        async with resources.database.transaction() as tx:
            await lock_unchanged(tx, found)
            changed = await batch(tx)
        total += changed
    return total
