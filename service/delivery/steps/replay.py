"""Replays: one delivery is sent again, or all that a subscriber missed in some time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from service.delivery.domain.delivery_state import ENDED
from service.delivery.store import delivery_log, replay
from service.delivery.store.delivery_log import DeliveryView
from service.delivery.store.replay import ReplayTarget, ReplayWindow
from service.job_queue import Work
from service.kit import validation
from service.kit.errors import Conflict, FieldError, Invalid, NotFound
from service.kit.timestamps import parse_rfc3339
from service.kit.validation import Reader, ValidationContext
from service.resources import Resources
from service.subscribers.domain.subscriber import SubscriberState, SubscriberType

CHUNK = 1000  # events of one transaction; it holds their subjects for some hundredths of a second


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay came to."""

    count: int
    """Deliveries that were made, or begin their schedule again; of a dry run, that would be."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A replay as it was asked for."""

    since: datetime
    """Of events that were created at this time or later."""
    until: datetime
    """Of events that were created before this time."""
    only: str
    """missing, failed or all: which of these events."""
    dry_run: bool
    """Whether they are only counted."""


async def replay_events(
    resources: Resources, account_id: str, subscriber_id: str, body: object
) -> ReplayResult:
    """Send a subscriber the events that it asks for and that are not on their way to it already.

    Every chunk is a transaction: whoever asks again, after this broke off, asks for the rest.
    Invalid with every error, NotFound, or Conflict if the subscriber is disabled.
    """
    request = validate_replay(body, resources.clock())
    async with resources.database.transaction() as tx:
        to = _sendable(await replay.target(tx, subscriber_id), account_id)
        if to.type is SubscriberType.CALLBACK:  # nobody made it, and it asks for nothing
            raise NotFound
        left = await replay.window(tx, account_id, request.since, request.until)
    count = 0
    while left is not None:
        step = _counted if request.dry_run else _sent
        number, left = await step(resources, subscriber_id, request.only, left)
        count += number
    return ReplayResult(count, request.dry_run)


async def _counted(
    resources: Resources, subscriber_id: str, only: str, window: ReplayWindow
) -> tuple[int, ReplayWindow | None]:
    async with resources.database.autocommit() as tx:
        chunk = await replay.chunk(tx, subscriber_id, only, window, CHUNK)
    return len(chunk.event_ids), chunk.rest


async def _sent(
    resources: Resources, subscriber_id: str, only: str, window: ReplayWindow
) -> tuple[int, ReplayWindow | None]:
    async with resources.database.transaction() as tx:
        chunk = await replay.chunk(tx, subscriber_id, only, window, CHUNK)
        if not chunk.event_ids:
            return 0, chunk.rest
        held = await replay.lock_target(tx, subscriber_id, chunk.subject_ids)
        count = await replay.requeue(
            tx,
            _sendable(held, window.account_id),
            chunk.event_ids,
            states=replay.states_of(only),
            stem=resources.new_id("dlv"),
            now=resources.clock(),
        )
    if count:
        resources.worker_notifier.wake(Work.DELIVER)
    return count, chunk.rest


async def resend(resources: Resources, account_id: str, delivery_id: str) -> DeliveryView:
    """The delivery, on its way once more: one that has ended begins its schedule anew, one that
    waits for a later try is due now, and one behind an earlier one of its subject stays there.

    NotFound if the account has none of this id; Conflict if its subscriber is disabled.
    """
    async with resources.database.transaction() as tx:
        owned = await delivery_log.owned(tx, account_id, delivery_id)
        if owned is None:
            raise NotFound
        held = await replay.lock_target(tx, owned.subscriber_id, [owned.ordering_key])
        now = resources.clock()
        to = _sendable(held, account_id)
        stem = resources.new_id("dlv")
        sent = await replay.requeue(tx, to, [owned.event_id], states=ENDED, stem=stem, now=now)
        if not sent:
            await replay.make_due_now(tx, delivery_id, now)
        shown = await delivery_log.get(tx, account_id, delivery_id)
    if shown is None:
        raise NotFound
    resources.worker_notifier.wake(Work.DELIVER)
    return shown


def _sendable(target: ReplayTarget | None, account_id: str) -> ReplayTarget:
    """NotFound if it is no subscriber of this account; Conflict if nothing is sent to it."""
    if target is None or target.account_id != account_id:
        raise NotFound
    if target.state is SubscriberState.DISABLED:
        message = "the subscriber is disabled: make it active first"
        raise Conflict(message, "subscriber_disabled")
    return target


def validate_replay(body: object, now: datetime) -> ReplayRequest:
    """The replay that a JSON body asks for, until `now` if it does not say; Invalid with every
    field_error."""
    read = validation.read_object(body, READERS, required=("since", "only"))
    read = {"until": now, "dry_run": False, **read}
    request = ReplayRequest(**read)
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


def _switch(context: ValidationContext, at: str, value: object) -> bool:
    if not isinstance(value, bool):
        context.add_error(at, "wrong_type", "must be true or false")
    return value is True


READERS: Mapping[str, Reader] = {
    "since": _time,
    "until": _time,
    "only": partial(validation.one_of, allowed=sorted(replay.KINDS)),
    "dry_run": _switch,
}
