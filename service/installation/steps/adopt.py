"""Adopting a copy: all that it brought along is ended, and nobody is told of it; then it is an
installation of its own. Until that last step it stays held, so whoever is cut off begins again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log, api_keys
from service.callbacks.steps import webhook_secrets
from service.erasure.domain.erasure import NotDone
from service.event_feed.store.transaction_ids import rebase_transaction_ids
from service.installation.domain.installation import NOTED_EVERY, Installation
from service.installation.steps.unchanged import lock_unchanged
from service.installation.store import adoption, look_ups
from service.installation.store import installation as store
from service.kit.database.connection import Connection
from service.kit.errors import Conflict
from service.resources import Resources
from service.subjects.domain.lifecycle import RANK, TERMINAL, Signal, State
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import log_transitions, transition_all_in
from service.subjects.steps.transition_metrics import count_transitions

log = structlog.get_logger()

BATCH: Final = 500  # rows of one transaction
UNFINISHED: Final = sorted(RANK.keys() - TERMINAL)
LATELY: Final = timedelta(seconds=30)  # a database that was alive then may be alive still
WATCHED: Final = 2 * NOTED_EVERY.total_seconds() + 1  # seconds in which it would be noted again
NOT_ASKED: Final = {
    "code": NotDone.LEFT_BEHIND.value,
    "message": "it was asked for in the database that this one was copied from",
}
LEFT_BEHIND: Final = {
    "code": "left_behind",
    "message": "the provider calls back to the database that this one was copied from",
}

# Ends some of what there is of a kind, at most so many: how many these were.
End = Callable[[Connection, datetime, int], Awaitable[int]]


class NotACopy(Conflict):
    """The database is not to be adopted; the message is a sentence for operators."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was done to a copy, by this call."""

    subscribers: int  # that were paused
    deliveries: int  # pending ones that were canceled
    canceled: int  # subjects that were queued
    failed: int  # subjects that were, or may have been, with the provider
    erasures: int  # deletions at the provider that were given up
    operations: int  # bulk operations that were stopped
    keys: int  # API keys that were revoked
    secrets: int  # webhook secrets that were removed
    installation_id: str  # the new one


async def refuse_at_home(resources: Resources) -> Installation:
    """The installation, which may be adopted. NotACopy if this process is at home in it, if nobody
    is yet, or if another's processes are running on it."""
    async with resources.database.autocommit() as tx:
        found = await store.read(tx)
    if found.public_url != resources.home.url and found.public_url is not None:
        await _refuse_alive(resources, found)
        return found
    if found.public_url is None:
        text = "No process has been at home in this database yet: there is nothing to adopt."
    elif found.held_reason is not None:
        text = "This database was restored at its own home: use `callsheet resume`."
    else:
        text = "This database is at home: adopt is for a copy, with a PUBLIC_URL of its own."
    raise NotACopy(text)


async def watch(seconds: float) -> None:
    """Let so many seconds pass."""
    await asyncio.sleep(seconds)


async def _refuse_alive(resources: Resources, found: Installation) -> None:
    """NotACopy if the database is not a copy, but the very one that others work on."""
    if found.last_moment is None or resources.clock() - found.last_moment > LATELY:
        return
    await watch(WATCHED)
    async with resources.database.autocommit() as tx:
        later = await store.read(tx)
    if later.last_moment != found.last_moment:
        text = (
            f"Processes of {found.public_url} are running on this database: it is no copy. Stop "
            "them, or give their PUBLIC_URL."
        )
        raise NotACopy(text)


async def adopt(resources: Resources, actor: Actor, *, revoke_keys: bool = False) -> Adopted:
    """Make a copy this process' home. With `revoke_keys` all API keys are revoked, and the webhook
    secrets that were added are removed. Safe to run again after it was cut off: then the numbers
    are of what was left to do. NotACopy if it is no copy; Overtaken if another has adopted it."""
    found = await refuse_at_home(resources)
    async with resources.database.transaction() as tx:
        await rebase_transaction_ids(tx)  # if it is another Postgres, and nobody ran `migrate`
    paused = await _all(resources, found, adoption.pause_subscribers)
    operations = await _all(resources, found, adoption.stop_operations)
    erasures = await _all(resources, found, _end_erasures)
    canceled, failed = await _end_subjects(resources, found)
    # What was pending, and what the ends of subjects have just made.
    deliveries = await _all(resources, found, adoption.cancel_deliveries)
    keys, secrets = await _revoke(resources, actor) if revoke_keys else (0, 0)
    installation_id = resources.new_id("ins")
    async with resources.database.transaction() as tx:
        await lock_unchanged(tx, found)
        await adoption.move_in(tx, installation_id, resources.home.url, resources.clock())
        action = Action(
            ActionKind.ADOPTED,
            installation_id,
            before={"installation": found.id, "public_url": found.public_url},
            after={"public_url": resources.home.url},
        )
        await action_log.record(tx, resources, actor, action)
    log.info("installation", action="adopted", installation=installation_id, before=found.id)
    return Adopted(
        paused, deliveries, canceled, failed, erasures, operations, keys, secrets, installation_id
    )


async def _all(resources: Resources, found: Installation, end: End) -> int:
    """End all there is of a kind, BATCH in each transaction; how many these were."""
    total, ended = 0, BATCH
    while ended >= BATCH:
        async with resources.database.transaction() as tx:
            await lock_unchanged(tx, found)
            ended = await end(tx, resources.clock(), BATCH)
        total += ended
    return total


async def _end_erasures(tx: Connection, now: datetime, limit: int) -> int:
    return await adoption.end_erasures(tx, now, limit, NOT_ASKED)


async def _end_subjects(resources: Resources, found: Installation) -> tuple[int, int]:
    """End every unfinished subject: how many were canceled, and how many failed."""
    canceled = failed = 0
    ids = [""]
    while ids:
        async with resources.database.transaction() as tx:
            await lock_unchanged(tx, found)
            ids = await look_ups.unfinished(tx, UNFINISHED, BATCH)
            moves = await transition_all_in(resources, tx, ids, _end, SignalSource.OPERATOR)
        count_transitions([move for move, _ in moves], SignalSource.OPERATOR)
        log_transitions(moves)
        for move, _ in moves:
            canceled += move.after.state is State.CANCELED
            failed += move.after.state is State.FAILED
    return canceled, failed


def _end(subject: Subject) -> StatusUpdate | None:
    if subject.state is State.QUEUED:
        return StatusUpdate(Signal.CANCEL)
    return None if subject.finished_at else StatusUpdate(Signal.FAILED, error=LEFT_BEHIND)


async def _revoke(resources: Resources, actor: Actor) -> tuple[int, int]:
    """Revoke all API keys, and remove all webhook secrets that were added; how many of each."""
    in_force = [view.key.id for view in await api_keys.list_keys(resources)]
    keys, _, _ = await api_keys.revoke_again(resources, in_force, actor)
    added = [secret.id for secret in await webhook_secrets.list_secrets(resources) if secret.id]
    for secret_id in added:
        await webhook_secrets.remove(resources, secret_id, actor=actor)
    return keys, len(added)
