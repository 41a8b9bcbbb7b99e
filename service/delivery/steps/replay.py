"""Replay of what a subscriber missed, and resending of one delivery."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.delivery.domain.delivery_state import ENDED
from service.delivery.domain.replay_kind import STATES, ReplayKind
from service.delivery.store import delivery_log as delivery_log_store
from service.delivery.store import replay as replay_store
from service.delivery.store.delivery_log import DeliveryView
from service.delivery.store.replay import ReplayTarget, ReplayWindow
from service.kit import validation
from service.kit.errors import Conflict, FieldError, Invalid, NotFound
from service.kit.timestamps import parse_rfc3339
from service.kit.validation import Reader, ValidationContext
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work
from service.subscribers.domain.subscriber import SubscriberState
from service.subscribers.store import subscribers
from service.subscribers.store.subscribers import Subscriber

CHUNK = 1000  # events of one transaction; it locks their subjects for some hundredths of a second

Target = TypeVar("Target", ReplayTarget, Subscriber)


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A replay as it was asked for."""

    since: datetime  # of events that were created at this time or later
    until: datetime  # of events that were created before this time
    only: ReplayKind  # which of these events
    dry_run: bool  # whether they are only counted


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How many deliveries a replay has sent, or would send."""

    count: int  # deliveries that were made, or begin their schedule again
    dry_run: bool  # whether they were only counted


async def replay_events(
    resources: Resources, account_id: str, subscriber_id: str, body: object
) -> ReplayResult:
    """Send a subscriber the events that the JSON body asks for and that are not on their way to it.

    Each chunk is a transaction: who asks again after an error asks for the rest. Invalid with every
    error in the body; NotFound; Conflict if the subscriber is disabled.
    """
    request = validate_replay(body, resources.clock())
    async with resources.database.transaction() as tx:
        _sendable(await subscribers.get(tx, account_id, subscriber_id), account_id)
        rest = await replay_store.find_window(tx, account_id, request.since, request.until)
    count = 0
    replay_chunk = _count_chunk if request.dry_run else _send_chunk
    while rest is not None:
        chunk_count, rest = await replay_chunk(resources, subscriber_id, request.only, rest)
        count += chunk_count
    return ReplayResult(count, request.dry_run)


async def _count_chunk(
    resources: Resources, subscriber_id: str, only: ReplayKind, window: ReplayWindow
) -> tuple[int, ReplayWindow | None]:
    async with resources.database.autocommit() as tx:
        chunk = await replay_store.read_chunk(tx, subscriber_id, only, window, CHUNK)
    return len(chunk.event_ids), chunk.rest


async def _send_chunk(
    resources: Resources, subscriber_id: str, only: ReplayKind, window: ReplayWindow
) -> tuple[int, ReplayWindow | None]:
    async with resources.database.transaction() as tx:
        chunk = await replay_store.read_chunk(tx, subscriber_id, only, window, CHUNK)
        if not chunk.event_ids:
            return 0, chunk.rest
        target = await replay_store.lock_target(tx, subscriber_id, chunk.subject_ids)
        count = await replay_store.requeue(
            tx,
            _sendable(target, window.account_id),
            chunk.event_ids,
            states=STATES[only],
            now=resources.clock(),
        )
        if count:
            await work.notify(tx, Work.DELIVER)
    return count, chunk.rest


async def resend(
    resources: Resources, account_id: str, delivery_id: str, actor: Actor | None = None
) -> DeliveryView:
    """Send a delivery again, and return it: one that has ended begins its retry schedule anew, and
    one that waits for its next attempt is due now; one behind an earlier one of its subject stays
    there.

    `actor`: who resends it, for the action log; None: its own account does. NotFound if the account
    has no such delivery; Conflict if its subscriber is disabled.
    """
    async with resources.database.transaction() as tx:
        delivery = _found(await delivery_log_store.get(tx, account_id, delivery_id))
        target = await replay_store.lock_target(tx, delivery.subscriber_id, [delivery.ordering_key])
        now = resources.clock()
        requeued = await replay_store.requeue(
            tx,
            _sendable(target, account_id),
            [delivery.event_id],
            states=ENDED,
            now=now,
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


def _sendable(target: Target | None, account_id: str) -> Target:
    """The subscriber; NotFound if it is not this account's, Conflict if it is disabled."""
    if target is None or target.account_id != account_id:
        raise NotFound
    if target.state is SubscriberState.DISABLED:
        message = "The subscriber is disabled: make it active first."
        raise Conflict(message, "subscriber_disabled")
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


def _time(context: ValidationContext, at: str, value: object) -> datetime | None:
    text = validation.string(context, at, value)
    moment = None if text is None else parse_rfc3339(text)
    if moment is None and text is not None:
        rule = "must be an RFC 3339 time with a zone, as 2026-01-02T03:04:05.678Z"
        context.add_error(at, "not_a_time", rule)
    return moment


def _boolean(context: ValidationContext, at: str, value: object) -> bool:
    if not isinstance(value, bool):
        context.add_error(at, "wrong_type", "must be true or false")
    return value is True


def _kind(context: ValidationContext, at: str, value: object) -> ReplayKind | None:
    word = validation.one_of(context, at, value, sorted(ReplayKind))
    return None if word is None else ReplayKind(word)


READERS: Mapping[str, Reader] = {
    "since": _time,
    "until": _time,
    "only": _kind,
    "dry_run": _boolean,
}
