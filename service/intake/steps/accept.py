"""Accepting create requests by batching: idempotency, the queue limit, and one transaction that
makes queued subjects of them with their first event and its deliveries.

A request that was made before, as its idempotency key or external_task_id says, is answered with
the subject that it made then. Requests that arrive at the same moment share one transaction.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace

from service.intake.domain.create_request import (
    Accepted,
    CreateRequest,
    CreateResult,
    PendingCreate,
    pending_create,
)
from service.intake.store import idempotency, insert
from service.intake.store.idempotency import AccountAndKey, Binding
from service.kit.concurrency.batcher import Batcher
from service.kit.database.connection import Connection
from service.kit.errors import QUEUE_FULL, CallsheetError, TooManyRequests, Unavailable
from service.media.store import inline_media
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.work import Work
from service.subjects.store import events, subjects
from service.subjects.store.events import NewEvent
from service.subscribers.steps.callback_url_subscribers import (
    ensure_callback_url_subscribers,
    origin_of,
)

log = structlog.get_logger()

KEY_TTL = timedelta(hours=24)  # how long an idempotency key is kept
QUEUE_FULL_RETRY_AFTER = 5.0  # seconds; Retry-After for a full queue; ours
CreateBatcher = Batcher[CreateRequest, CreateResult]


def make_batcher(resources: Callable[[], Resources]) -> CreateBatcher:
    """A batcher of the requests that arrive at this process at the same moment."""

    async def accept_together(requests: Sequence[CreateRequest]) -> list[CreateResult]:
        return await accept_batch(resources(), requests)

    return Batcher(accept_together, size_of=lambda request: request.inline_bytes)


async def accept(
    resources: Resources, request: CreateRequest, batcher: CreateBatcher | None = None
) -> Accepted:
    """Make a queued subject of a request; the same request again gives the same subject. When this
    returns, subject, event and deliveries are committed. A batcher lets the request share a
    transaction with others, unless it has large images.

    Conflict if the idempotency key or external_task_id stands for another request; TooManyRequests
    if the account's queue is full; Unavailable if Postgres is.
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
    """Decide on requests of different idempotency keys in one transaction, which notifies the
    workers. Locks are taken in the order keys, queues, subscribers, external ids, media."""
    now = resources.clock()
    await _store_large_images(resources, creates, now)
    async with resources.database.transaction() as tx:
        free_keys = await _answer_by_key(tx, creates, now)
        await _answer_by_external_id(tx, _undecided(creates))
        await _refuse_beyond_limit(tx, resources, _undecided(creates), now)
        await _assign_callback_subscribers(tx, resources, _undecided(creates))
        added = await _add_subjects(tx, _undecided(creates))
        await _store_images(tx, added, now)
        await _add_events(tx, resources, added)
        await _bind_keys(tx, free_keys, now)
    for create in added:
        create.result = Accepted(create.subject, created=True)


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


async def _answer_by_key(
    tx: Connection, creates: Sequence[PendingCreate], now: datetime
) -> dict[AccountAndKey, PendingCreate]:
    """Answer the requests whose idempotency key is bound; return the others with one, by key."""
    by_key = {key: create for create in creates if (key := create.account_and_key)}
    if not by_key:
        return {}
    bound = await idempotency.lock_and_read(tx, list(by_key), now - KEY_TTL)
    ids = [binding.subject_id for binding in bound.values()]
    earlier = await subjects.by_ids(tx, ids) if ids else {}
    for key, binding in bound.items():
        by_key.pop(key).answer_by_key(earlier[binding.subject_id], binding.fingerprint)
    return by_key


async def _answer_by_external_id(tx: Connection, creates: Sequence[PendingCreate]) -> None:
    """Answer the requests whose account has a subject of their external_task_id already."""
    with_id = [(create, id_) for create in creates if (id_ := create.account_and_external_id)]
    earlier = await subjects.by_external_id(tx, [id_ for _, id_ in with_id]) if with_id else {}
    for create, id_ in with_id:
        if id_ in earlier:
            create.answer_by_external_id(earlier[id_])


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
    await _answer_by_external_id(tx, beyond)  # another may just have written them
    for create in _undecided(beyond):
        message = f"The account has {limit.limit} subjects queued already, which is the limit."
        create.result = TooManyRequests(message, QUEUE_FULL, QUEUE_FULL_RETRY_AFTER)


async def _assign_callback_subscribers(
    tx: Connection, resources: Resources, creates: Sequence[PendingCreate]
) -> None:
    """Let each subject with a callback_url have the hidden subscriber of that URL's origin."""
    wanted = {
        create: (create.request.account_id, origin_of(url))
        for create in creates
        if (url := create.request.callback_url)
    }
    ids = await ensure_callback_url_subscribers(tx, resources, sorted(set(wanted.values())))
    for create, account_origin in wanted.items():
        create.subject = replace(create.subject, callback_subscriber_id=ids[account_origin])


async def _add_subjects(tx: Connection, creates: Sequence[PendingCreate]) -> list[PendingCreate]:
    """Write the new subjects, and return them. A request whose external_task_id was written
    meanwhile, or by another of these, is answered with that subject."""
    if not creates:
        return []
    media_due = {create.subject.id for create in creates if create.has_media_urls}
    ids = await insert.add_subjects(tx, [create.subject for create in creates], media_due)
    await _answer_by_external_id(tx, [create for create in creates if create.subject.id not in ids])
    return [create for create in creates if create.subject.id in ids]


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


async def _add_events(tx: Connection, resources: Resources, added: Sequence[PendingCreate]) -> None:
    """Write the first event of new subjects, and notify the workers that have work by that."""
    new = [NewEvent(subject_event(create.subject), resources.new_id("dlv")) for create in added]
    work = {Work.CHECK_MEDIA if create.has_media_urls else Work.SUBMIT for create in added}
    if new:
        await events.append(tx, new, work)


async def _bind_keys(
    tx: Connection, free_keys: Mapping[AccountAndKey, PendingCreate], now: datetime
) -> None:
    """Bind free idempotency keys to the subjects of their requests, unless they were refused."""
    bindings = {
        key: Binding(subject.fingerprint, subject.id)
        for key, create in free_keys.items()
        if (subject := create.bound_subject) is not None
    }
    if bindings:
        await idempotency.bind(tx, bindings, now)
