"""Lets a restored database go on: the original, which was put back to a backup, or whose address
has changed.

All is done while everything is held, and the hold ends last, in one transaction with the new epoch
of the feeds. So whoever is cut off, or cannot ask the provider, runs it again: what was done stays
done, and nothing was sent meanwhile.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.event_feed.store import epochs
from service.event_feed.store.transaction_ids import rebase_transaction_ids
from service.installation.domain.installation import HeldBecause, Installation
from service.installation.steps import note_moment
from service.installation.steps.look_ups import LookUpsDue
from service.installation.steps.unchanged import lock_unchanged
from service.installation.store import installation as store
from service.installation.store.release import release
from service.kit.errors import Conflict
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work

SAID = "An operator says that this database was restored, and runs `callsheet resume`."


class NothingToResume(Conflict):
    """The database is not to be resumed; the message is a sentence for operators."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the end of a hold has brought about."""

    epoch: int  # of the feeds: cursors of earlier ones are answered 410
    moment: datetime  # from which on the database is known again to go forwards


async def begin(
    resources: Resources, *, moved: bool = False, restored: bool = False
) -> Installation:
    """Hold every process, if it is not so already; the installation as it stands then.

    NothingToResume if it is not held, and `restored` does not say that it went back all the same;
    or it is at another address than at home, and `moved` does not say that this is its home now.
    """
    await note_moment.look(resources)
    held = resources.home.held
    if held is None and not restored:
        raise NothingToResume("The installation is not held: there is nothing to resume.")
    if held is not None and held.because is HeldBecause.ELSEWHERE and not moved:
        raise NothingToResume(held.text)
    reason = SAID if held is None else held.text
    async with resources.database.autocommit() as tx:
        found = await store.read(tx)
        return await store.hold(tx, found.id, reason, resources.clock())


async def wait_until_settled(resources: Resources, installation: Installation) -> None:
    """Wait until nothing is on its way any more that was sent before everything was held, and the
    provider would find it: a lease, and NOT_FOUND_GRACE."""
    settings, now = resources.settings, resources.clock()
    await asyncio.sleep(until_settled(installation, settings.lease + settings.not_found_grace, now))


def until_settled(installation: Installation, seconds: float, now: datetime) -> float:
    """What is left at `now` of so many seconds since it is held; never more than all of them, where
    the clock of whoever has held it is ahead of ours."""
    held_since = min(installation.held_since or now, now)
    return max(0.0, seconds - (now - held_since).total_seconds())


async def finish(
    resources: Resources, installation: Installation, due: LookUpsDue, actor: Actor
) -> Resumed:
    """End the hold, at this process' address, and begin a new epoch of the feeds. Workers are
    notified of all that has become due meanwhile. Overtaken if another has ended it."""
    noted = resources.home.noted(installation.id)
    moment = max(filter(None, (resources.clock(), noted, installation.last_moment)))
    async with resources.database.transaction() as tx:
        await lock_unchanged(tx, installation)
        await rebase_transaction_ids(tx)  # if it is another Postgres, and nobody ran `migrate`
        epoch = await epochs.begin_epoch(tx)
        await release(tx, installation.id, resources.home.url, moment)
        await action_log.record(tx, resources, actor, _action(installation, due, epoch, moment))
        for kind in Work:
            await work.notify(tx, kind)
    await note_moment.look(resources)
    return Resumed(epoch, moment)


def _action(installation: Installation, due: LookUpsDue, epoch: int, moment: datetime) -> Action:
    before = {
        "held_reason": installation.held_reason,
        "last_moment": format_rfc3339(installation.last_moment),
    }
    after = {
        "last_moment": format_rfc3339(moment),
        "epoch": epoch,
        "may_have_been_sent": due.may_have_been_sent,
        "asked_about": due.asked_about,
    }
    return Action(ActionKind.RESUMED, installation.id, before=before, after=after)
