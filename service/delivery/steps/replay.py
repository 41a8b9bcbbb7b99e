"""Sending anew: what a replay asks for, and resending of one delivery."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.delivery.domain.delivery_state import ENDED
from service.delivery.domain.replay_kind import ReplayKind
from service.delivery.store import delivery_log as delivery_log_store
from service.delivery.store import replay as replay_store
from service.delivery.store.delivery_log import DeliveryView
from service.delivery.store.replay import ReplayTarget
from service.kit import validation
from service.kit.database.connection import Connection
from service.kit.errors import Conflict, FieldError, Invalid, NotFound
from service.kit.validation import Reader, ValidationContext
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work
from service.subscribers.domain.subscriber import SubscriberState
from service.subscribers.store.subscribers import Subscriber

DISABLED, ERASED = "subscriber_disabled", "event_erased"  # codes of a Conflict

Target = TypeVar("Target", ReplayTarget, Subscriber)


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A replay as it was asked for."""

    since: datetime  # of events that were created at this time or later
    until: datetime  # of events that were created before this time
    only: ReplayKind  # which of these events
    dry_run: bool  # whether they are only counted


async def lock_sendable(
    tx: Connection, account_id: str, subscriber_id: str, subject_ids: Collection[str | None]
) -> ReplayTarget:
    """A subscriber that events of these subjects (None: that of an event without) may be sent to
    anew: until this transaction ends, none of them changes.

    NotFound if the account has no such subscriber any more; Conflict if it is disabled.
    """
    locked = sorted(id_ for id_ in set(subject_ids) if id_ is not None)
    return sendable(await replay_store.lock_target(tx, subscriber_id, locked), account_id)


async def resend(
    resources: Resources, account_id: str, delivery_id: str, actor: Actor | None = None
) -> DeliveryView:
    """Send a delivery again, and return it: one that has ended begins its retry schedule anew, and
    one that waits for its next attempt is due now; one behind an earlier one of its subject stays
    there.

    `actor`: who resends it, for the action log; None: its own account does. NotFound if the account
    has no such delivery; Conflict if its subscriber is disabled, or what its event held was erased.
    """
    async with resources.database.transaction() as tx:
        delivery = _found(await delivery_log_store.get(tx, account_id, delivery_id))
        target = await lock_sendable(
            tx, account_id, delivery.subscriber_id, [delivery.ordering_key]
        )
        if await replay_store.is_erased(tx, delivery.event_id):
            raise Conflict("What the event told of was erased.", ERASED)
        now = resources.clock()
        requeued = await replay_store.requeue(
            tx, target, [delivery.event_id], states=ENDED, now=now
        )
        if not requeued:
            await replay_store.make_retry_due(tx, delivery_id, now)
        await work.notify(tx, Work.DELIVER)
        before = {"state": delivery.state}
        action = Action(ActionKind.DELIVERY_RESENT, delivery_id, account_id, before)
        await action_log.record(tx, resources, actor, action)
        return _found(await delivery_log_store.get(tx, account_id, delivery_id))


def _found(delivery: DeliveryView | None) -> DeliveryView:
    if delivery is None:
        raise NotFound
    return delivery


def sendable(target: Target | None, account_id: str) -> Target:
    """The subscriber; NotFound if it is not this account's, Conflict if it is disabled."""
    if target is None or target.account_id != account_id:
        raise NotFound
    if target.state is SubscriberState.DISABLED:
        message = "The subscriber is disabled: make it active first."
        raise Conflict(message, DISABLED)
    return target


def validate_replay(body: object, now: datetime) -> ReplayRequest:
    """The replay that a JSON body asks for, until `now` if it does not say; Invalid with every
    error in it."""
    fields = validation.read_object(body, READERS, required=("since", "only"))
    request = ReplayRequest(**{"until": now, "dry_run": False, **fields})
    if request.since > request.until:
        rule = "since must not be after until, which is now if left out"
        raise Invalid([FieldError("/since", "after_until", rule)])
    return request


def read_boolean(context: ValidationContext, at: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        context.add_error(at, "wrong_type", "must be true or false")
    return value is True


def read_kind(context: ValidationContext, at: str, value: object) -> ReplayKind | None:
    """The word for a kind of replay; None if it is none."""
    word = validation.one_of(context, at, value, sorted(ReplayKind))
    return None if word is None else ReplayKind(word)


READERS: Mapping[str, Reader] = {
    "since": validation.time,
    "until": validation.time,
    "only": read_kind,
    "dry_run": read_boolean,
}
