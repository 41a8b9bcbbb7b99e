"""The kinds of bulk operations: how each reads what it is about, and does it.

Each reads in an order that it keeps to, from a position on that its row has; what it does to a
chunk is done in the transaction that moves the position.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from msgspec import Struct

from service.delivery.domain.delivery_state import ENDED, DeliveryState
from service.delivery.domain.replay_kind import STATES, ReplayKind
from service.delivery.steps import replay as replay_steps
from service.delivery.store import replay as replay_store
from service.delivery.store import replay_window
from service.delivery.store.replay_window import ReplayWindow
from service.event_feed.domain import places
from service.kit.database.connection import Connection
from service.operations.domain.bulk import NOTHING, Chunk, Item, Position
from service.operations.domain.operation import OperationKind
from service.operations.store import to_cancel, to_resend
from service.operations.store.operations import Operation
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition_all_in
from service.subjects.store import work
from service.subjects.store.transitions import Transition
from service.subscribers.domain.subscriber import SubscriberState
from service.subscribers.store import subscribers

SENT_AT_ONCE = 1000  # of one step: their subjects are locked for some hundredths of a second
CANCELED_AT_ONCE = 100  # likewise: each has an event, and a delivery for each subscriber


class Outcome(Struct, frozen=True):
    """What came of doing it to the items of a step."""

    done: int  # to so many of them; the others had changed
    moves: Sequence[tuple[Transition, str]] = ()  # to be logged after the commit


class BulkKind(Struct, frozen=True):
    """How one kind of operation reads and does."""

    batch: int  # items of one step at most
    # Reads behind the operation's position; so many items at most.
    read: Callable[[Connection, Operation, int], Awaitable[Chunk]]
    act: Callable[[Resources, Connection, Operation, Sequence[Item]], Awaitable[Outcome]]
    # How many items it cannot be done to that `read` does not meet, by reason.
    count_others: Callable[[Connection, Operation], Awaitable[Mapping[str, int]]]


async def _no_others(_tx: Connection, _operation: Operation) -> Mapping[str, int]:
    return NOTHING


async def _resend(
    resources: Resources, tx: Connection, operation: Operation, items: Sequence[Item]
) -> Outcome:
    """Locks subjects, then subscribers, then deliveries, as all do. A subscriber that was disabled
    or removed meanwhile is sent nothing."""
    events: dict[str, list[str]] = {}
    for item in items:
        events.setdefault(str(item.subscriber_id), []).append(str(item.event_id))
    subject_ids = sorted({str(item.subject_id) for item in items})
    targets = []
    for number, subscriber_id in enumerate(sorted(events)):
        locking = [] if number else subject_ids
        targets.append(await replay_store.lock_target(tx, subscriber_id, locking))
    state = operation.filter.get("state")
    states = ENDED if state is None else (DeliveryState(state),)
    done, now = 0, resources.clock()
    for target in targets:
        if target is not None and target.state is not SubscriberState.DISABLED:
            event_ids = events[target.id]
            done += await replay_store.requeue(tx, target, event_ids, states=states, now=now)
    if done:
        await work.notify(tx, Work.DELIVER)
    return Outcome(done)


async def _read_to_replay(tx: Connection, operation: Operation, most: int) -> Chunk:
    """The events of the feed that its account had when it was read first. NotFound if the
    subscriber is gone, Conflict if it is disabled."""
    account_id, subscriber_id = str(operation.account_id), operation.filter["subscriber_id"]
    subscriber = await subscribers.get(tx, account_id, subscriber_id)
    replay_steps.sendable(subscriber, account_id)
    window = await _window(tx, operation)
    if window is None:
        return Chunk((), None)
    only = ReplayKind(operation.filter["only"])
    chunk = await replay_window.read_chunk(tx, subscriber_id, only, window, most)
    items = [Item(event.id, event.word, event.subject_id) for event in chunk.events]
    return Chunk(items, None if chunk.rest is None else _position(chunk.rest))


async def _window(tx: Connection, operation: Operation) -> ReplayWindow | None:
    since = datetime.fromisoformat(operation.filter["since"])
    until = datetime.fromisoformat(operation.filter["until"])
    account_id, cut_off, position = str(operation.account_id), operation.cut_off, operation.position
    if position is None:
        return await replay_window.find_window(tx, account_id, since, until, cut_off)
    after = places.Position(position["xid"], position["number"])
    return ReplayWindow(account_id, since, until, cut_off, after, position["last_xid"])


def _position(window: ReplayWindow) -> Position:
    return {
        "xid": window.after.xid,
        "number": window.after.number,
        "last_xid": window.last_xid,
    }


async def _replay(
    resources: Resources, tx: Connection, operation: Operation, items: Sequence[Item]
) -> Outcome:
    target = await replay_steps.lock_sendable(
        tx,
        str(operation.account_id),
        operation.filter["subscriber_id"],
        {item.subject_id for item in items},
    )
    event_ids = [item.id for item in items]
    states = STATES[ReplayKind(operation.filter["only"])]
    done = await replay_store.requeue(tx, target, event_ids, states=states, now=resources.clock())
    if done:
        await work.notify(tx, Work.DELIVER)
    return Outcome(done)


async def _cancel(
    resources: Resources, tx: Connection, _operation: Operation, items: Sequence[Item]
) -> Outcome:
    ids = sorted(item.id for item in items)
    moves = await transition_all_in(resources, tx, ids, _cancel_queued, SignalSource.CANCEL)
    return Outcome(len(moves), moves)


def _cancel_queued(subject: Subject) -> StatusUpdate | None:
    return StatusUpdate(Signal.CANCEL) if subject.state is State.QUEUED else None


KINDS: Mapping[OperationKind, BulkKind] = MappingProxyType(
    {
        OperationKind.RESEND: BulkKind(SENT_AT_ONCE, to_resend.read, _resend, _no_others),
        OperationKind.REPLAY: BulkKind(SENT_AT_ONCE, _read_to_replay, _replay, _no_others),
        OperationKind.CANCEL: BulkKind(
            CANCELED_AT_ONCE, to_cancel.read, _cancel, to_cancel.count_with_provider
        ),
    }
)
