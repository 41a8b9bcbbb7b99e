"""Accepting create requests by batching: idempotency, the queue limit, and one transaction that
makes queued subjects of them with their first event and its deliveries.

A request that was made before, as its idempotency key or external_task_id says, is answered with
the subject that it made then. Requests that arrive at the same moment share one transaction.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import datetime

import structlog

from service.accounts.steps import action_log
from service.intake.domain.create_request import (
    Accepted,
    CreateRequest,
    CreateResult,
    PendingCreate,
    pending_create,
)
from service.intake.steps.earlier import answer_by_earlier
from service.intake.steps.held_intake import refuse_held, refuse_large_if_held
from service.intake.store import insert
from service.intake.store.idempotency import Binding
from service.intake.store.insert import NewSubject
from service.kit.concurrency.batcher import Batcher
from service.kit.database.connection import Connection
from service.kit.database.guards import GuardFailed
from service.kit.errors import QUEUE_FULL, CallsheetError, TooManyRequests, Unavailable
from service.media.store import inline_media
from service.operations.domain.hold import HeldAccount
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.steps.transition_metrics import count_accepted
from service.subjects.store.events import NewEvent
from service.subscribers.steps.callback_url_subscribers import (
    ensure_callback_url_subscribers,
    origin_of,
)

log = structlog.get_logger()

QUEUE_FULL_RETRY_AFTER = 5.0  # seconds; Retry-After for a full queue; ours
CreateBatcher = Batcher[CreateRequest, CreateResult]


def make_batcher(resources: Callable[[], Resources]) -> CreateBatcher:
    """A batcher of the requests that arrive at this process at the same moment."""

    async def accept_together(requests: Sequence[CreateRequest]) -> list[CreateResult]:
        return await accept_batch(resources(), requests)

    return Batcher(accept_together, "creates", size_of=lambda request: request.inline_bytes)


async def accept(
    resources: Resources, request: CreateRequest, batcher: CreateBatcher | None = None
) -> Accepted:
    """Make a queued subject of a request; the same request again gives the same subject. When this
    returns, subject, event and deliveries are committed. A batcher lets the request share a
    transaction with others, unless it has large images.

    Conflict if the idempotency key or external_task_id stands for another request; TooManyRequests
    if the account's queue is full; IntakeHeld if an operator holds the intake; Unavailable if
    Postgres is.
    """
    if batcher is None or request.has_large_images:
        (result,) = await accept_batch(resources, [request])
    else:
        result = await batcher.submit(request)
    if isinstance(result, CallsheetError):
        raise result
    return result


async def accept_batch(
    resources: Resources, requests: Sequence[CreateRequest]
) -> list[CreateResult]:
    """Decide on requests in one transaction, and return the result of each. Of several with one
    idempotency key the first decides for all; if it is refused, the next is decided on, in another
    transaction. Unavailable is raised if nothing could be decided, and otherwise returned as the
    result of what could not."""
    now, max_seconds = resources.clock(), resources.settings.task_deadline
    creates = [
        pending_create(request, resources.new_id("sub"), now, max_seconds) for request in requests
    ]
    undecided = await _accept_leaders(resources, creates)
    while undecided:
        # Others are committed already: this must not fail for them, nor make them again.
        try:
            undecided = await _accept_leaders(resources, undecided)
        except Unavailable as error:
            return [create.result or error for create in creates]
        except Exception:
            log.exception("intake", action="fault")
            break
    return [create.result or Unavailable() for create in creates]


async def _accept_leaders(
    resources: Resources, creates: Sequence[PendingCreate]
) -> list[PendingCreate]:
    """Decide on the first request of each idempotency key, and by it on the others of that key;
    return those that are still undecided, since it was refused."""
    leaders: dict[object, PendingCreate] = {}
    for create in creates:
        leaders.setdefault(create.account_and_key or create, create)
    await _decide(resources, list(leaders.values()))
    followers = [
        create for create in creates if create is not leaders[create.account_and_key or create]
    ]
    for create in followers:
        create.answer_like(leaders[create.account_and_key or create])
    return _undecided(followers)


async def _decide(resources: Resources, creates: Sequence[PendingCreate]) -> None:
    """Decide on requests of different idempotency keys, and write what is accepted, all or nothing.

    Nothing is locked while it is decided: what was read is guarded by the unique keys under which
    it would have been found. If another has taken one of them meanwhile, nothing is written, and
    all is decided again. It is found then: so there are no more rounds than requests, and one.
    """
    now = resources.clock()
    creates = await refuse_large_if_held(resources, creates, now)
    await _store_large_images(resources, creates, now)
    for _ in creates:
        with suppress(GuardFailed):
            return await _try_to_decide(resources, creates, now)
        for create in creates:
            create.reset()
    return await _try_to_decide(resources, creates, now)


async def _try_to_decide(
    resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Decide on requests, and write what is accepted; GuardFailed if another has taken a key or an
    external id meanwhile. Locks are taken in the order queues, hidden subscribers, keys,
    subscribers, external ids, media."""
    async with resources.database.autocommit() as connection:
        await answer_by_earlier(connection, creates, now)
        async with _transaction_if_needed(connection, resources, _undecided(creates), now):
            await _refuse_beyond_limit(connection, resources, _undecided(creates), now)
            await _add_callback_subscribers(connection, resources, _undecided(creates))
            added = await _write_unless_held(connection, creates, now)
            for create in added:
                if create.request.actor is not None:
                    actor, action = create.request.actor, create.action
                    await action_log.record(connection, resources, actor, action)
    count_accepted(len(added))
    for create in added:
        create.result = Accepted(create.subject, created=True)


def _transaction_if_needed(
    connection: Connection,
    resources: Resources,
    creates: Sequence[PendingCreate],
    now: datetime,
) -> AbstractAsyncContextManager[None]:
    """A transaction if more than one statement is needed to write these: else the one that writes
    them is a transaction of its own."""
    account_ids = {create.request.account_id for create in creates}
    needed = resources.queue_limit.must_count(account_ids, now) or any(
        create.request.inline_images or create.request.actor or create.lacks_callback_subscriber
        for create in creates
    )
    return connection.transaction() if needed else nullcontext()


def _undecided(creates: Sequence[PendingCreate]) -> list[PendingCreate]:
    return [create for create in creates if create.result is None]


async def _store_large_images(
    resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Write large images before anything is locked: others would wait for the locks. If the request
    is refused, they are pruned like those of finished subjects."""
    for images in [
        create.request.inline_images for create in creates if create.request.has_large_images
    ]:
        async with resources.database.transaction() as tx:
            await inline_media.save(tx, images, now)


async def _refuse_beyond_limit(
    tx: Connection, resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Refuse the requests for which their account's queue has no room. Several requests of one
    external_task_id count once."""
    wanted: defaultdict[str, dict[object, list[PendingCreate]]] = defaultdict(dict)
    for create in creates:
        by_id = wanted[create.request.account_id]
        by_id.setdefault(create.account_and_external_id or create, []).append(create)
    limit = resources.queue_limit
    beyond = [
        create
        for account_id, available in (await limit.available(tx, wanted, now)).items()
        for same_id in list(wanted[account_id].values())[max(0, available) :]
        for create in same_id
    ]
    await answer_by_earlier(tx, beyond, now)  # another may just have written them
    for create in _undecided(beyond):
        message = f"The account has {limit.limit} subjects queued already, which is the limit."
        create.result = TooManyRequests(message, QUEUE_FULL, QUEUE_FULL_RETRY_AFTER)


async def _add_callback_subscribers(
    tx: Connection, resources: Resources, creates: Sequence[PendingCreate]
) -> None:
    """Let each subject with a callback_url have the hidden subscriber of that URL's origin, where
    it has none yet."""
    wanted = {
        create: (create.request.account_id, origin_of(str(create.request.callback_url)))
        for create in creates
        if create.lacks_callback_subscriber
    }
    if wanted:
        ids = await ensure_callback_url_subscribers(tx, resources, sorted(set(wanted.values())))
        for create, account_origin in wanted.items():
            create.assign_callback_subscriber(ids[account_origin])


async def _write_unless_held(
    tx: Connection, creates: Sequence[PendingCreate], now: datetime
) -> list[PendingCreate]:
    """Write the undecided requests, but refuse those of accounts whose intake is held, which the
    statement that writes them finds out; return those that were written."""
    undecided = _undecided(creates)
    while True:
        added = _answer_by_each_other(undecided)
        held = await _write(tx, creates, added, now)
        if not held:
            return added
        undecided = refuse_held(undecided, held, now)


def _answer_by_each_other(creates: Sequence[PendingCreate]) -> list[PendingCreate]:
    """Of requests with one external_task_id answer the others by the first; return those that are
    left, whose subjects are to be written."""
    firsts: dict[object, PendingCreate] = {}
    for create in creates:
        first = firsts.setdefault(create.account_and_external_id or create, create)
        if first is not create:
            create.answer_by_external_id(first.subject)
    return list(firsts.values())


async def _write(
    tx: Connection,
    creates: Sequence[PendingCreate],
    added: Sequence[PendingCreate],
    now: datetime,
) -> list[HeldAccount]:
    """Write the subjects that are `added`, their first events, and their images; bind the free
    idempotency keys of all requests that are not refused. Nothing is written if the intake of one
    of their accounts is held: then those holds are returned."""
    bindings = {
        key: Binding(subject.fingerprint, subject.id, now)
        for create in creates
        if (key := create.account_and_key) and not create.key_is_bound
        if (subject := create.bound_subject)
    }
    if not (added or bindings):
        return []
    held = await insert.add_subjects(
        tx,
        [
            NewSubject(create.subject, create.has_media_urls, create.request.traceparent)
            for create in added
        ],
        [NewEvent(subject_event(create.subject)) for create in added],
        bindings=bindings,
    )
    if not held:
        await _store_images(tx, added, now)
    return held


async def _store_images(tx: Connection, added: Sequence[PendingCreate], now: datetime) -> None:
    """Write the inline images of new subjects; large ones are written already."""
    images: dict[str, bytes] = {}
    for create in added:
        if not create.request.has_large_images:
            images |= create.request.inline_images
    if images:
        await inline_media.save(tx, images, now)
    needed = [
        (create.subject.id, hash_) for create in added for hash_ in create.request.inline_images
    ]
    if needed:
        await inline_media.link(tx, needed)
