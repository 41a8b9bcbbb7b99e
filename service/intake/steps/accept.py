"""Accepting requests: from valid CreateRequests to queued subjects, in one transaction.

A request that came before, as its idempotency key or its external_task_id says, is answered with
the subject that it made. One whose account has too many subjects queued is refused. The others'
subjects are written, each with its media, its first event and the deliveries of that; and once this
is committed, whoever takes the next step is woken. Requests that come at the same moment go through
one transaction together.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from service.intake.domain.create_request import (
    Accepted,
    CreateRequest,
    CreateResult,
    PendingCreate,
    pending_create,
)
from service.intake.store import idempotency, insert
from service.intake.store.idempotency import AccountAndKey, Binding
from service.job_queue import Work
from service.kit.concurrency.batcher import Batcher
from service.kit.database.connection import Connection
from service.kit.errors import QUEUE_FULL, CallsheetError, TooManyRequests, Unavailable
from service.media.store import inline_media
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.store import events, subjects
from service.subjects.store.events import NewEvent
from service.subscribers.steps.request_callback_urls import (
    ensure_callback_url_subscribers,
    origin_of,
)

log = structlog.get_logger()

KEY_TTL = timedelta(hours=24)  # an idempotency key is forgotten after it
QUEUE_FULL_RETRY_AFTER = 5.0  # seconds that a caller waits whose queue is full; ours
CreateBatcher = Batcher[CreateRequest, CreateResult]


def make_batcher(resources: Callable[[], Resources]) -> CreateBatcher:
    """What accepts together the requests that come to this process at the same moment."""

    async def accept_together(requests: Sequence[CreateRequest]) -> list[CreateResult]:
        return await accept_batch(resources(), requests)

    return Batcher(accept_together, size_of=lambda request: request.media_bytes)


async def accept(
    resources: Resources, request: CreateRequest, batcher: CreateBatcher | None = None
) -> Accepted:
    """Queue a subject; the same request again gives the same subject. With a batcher, and unless it
    is heavy, the request is accepted together with others.

    Conflict if the key or the external id stands for another request; TooMany if the queue is full.
    When this returns, subject, event and deliveries are committed.
    """
    if batcher is None or request.has_large_media:
        (result,) = await accept_batch(resources, [request])
    else:
        result = await batcher.submit(request)
    if isinstance(result, CallsheetError):
        raise result
    return result


async def accept_batch(
    resources: Resources, requests: Sequence[CreateRequest]
) -> list[CreateResult]:
    """The result of each request, decided in one transaction. Of several with one idempotency key
    the later ones follow the first; should it be refused, they are decided after it, in a
    transaction of their own. Unavailable if nothing could be decided."""
    now, longest = resources.clock(), resources.settings.task_deadline
    creates = [
        pending_create(request, resources.new_id("sub"), now, longest) for request in requests
    ]
    undecided = await _accept_leaders(resources, creates)
    while undecided:
        # The others are committed: theirs must not be told what breaks this off, nor be made anew.
        try:
            undecided = await _accept_leaders(resources, undecided)
        except Unavailable as error:
            return _results(creates, error)
        except Exception:
            log.exception("intake", action="fault")
            break
    return _results(creates, Unavailable())


def _results(creates: Sequence[PendingCreate], error: Unavailable) -> list[CreateResult]:
    """The result of each; the error where it was not decided."""
    return [create.result or error for create in creates]


async def _accept_leaders(
    resources: Resources, creates: Sequence[PendingCreate]
) -> list[PendingCreate]:
    """Decide the first of each key, and give those that could not follow it."""
    leaders: dict[object, PendingCreate] = {}
    for create in creates:
        leaders.setdefault(create.key or create, create)
    await _decide(resources, list(leaders.values()))
    followers = [create for create in creates if create is not leaders[create.key or create]]
    for create in followers:
        create.answer_like(leaders[create.key or create])
    return _undecided(followers)


async def _decide(resources: Resources, creates: Sequence[PendingCreate]) -> None:
    """Decide requests in one transaction; no two of them have the same idempotency key. Then wake
    whoever goes on. Locks are taken in the order keys, queues, subscribers, external ids, media."""
    now = resources.clock()
    await _store_large_media(resources, creates, now)
    async with resources.database.transaction() as tx:
        free_keys = await _answer_by_key(tx, creates, now)
        await _answer_by_external_id(tx, _undecided(creates))
        await _refuse_beyond_limit(tx, resources, _undecided(creates), now)
        await _assign_callback_subscribers(tx, resources, _undecided(creates))
        added = await _add_subjects(tx, _undecided(creates))
        await _store_media(tx, added, now)
        deliveries = await _add_events(tx, resources, added)
        await _bind_keys(tx, free_keys, now)
    for create in added:
        create.result = Accepted(create.subject, created=True)
    _wake(resources, added, deliveries)


def _wake(resources: Resources, added: Sequence[PendingCreate], deliveries: int) -> None:
    """Wake whoever takes the next step of what is committed."""
    for create in added:
        resources.worker_notifier.wake(Work.CHECK_MEDIA if create.has_media_urls else Work.SUBMIT)
    if deliveries:
        resources.worker_notifier.wake(Work.DELIVER)


def _undecided(creates: Sequence[PendingCreate]) -> list[PendingCreate]:
    return [create for create in creates if create.result is None]


async def _store_large_media(
    resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Heavy media are written before anything is locked: others would wait for them. Should nobody
    come to need them, they are dropped like those of subjects that have ended."""
    for inline in [create.request.inline for create in creates if create.request.has_large_media]:
        async with resources.database.transaction() as tx:
            await inline_media.save(tx, inline, now)


async def _answer_by_key(
    tx: Connection, creates: Sequence[PendingCreate], now: datetime
) -> dict[AccountAndKey, PendingCreate]:
    """Answer the requests whose key is bound; give those whose key is free, by their keys."""
    by_key = {key: create for create in creates if (key := create.key)}
    if not by_key:
        return {}
    bound = await idempotency.lock_and_read(tx, list(by_key), now - KEY_TTL)
    ids = [binding.subject_id for binding in bound.values()]
    earlier = await subjects.by_ids(tx, ids) if ids else {}
    for key, binding in bound.items():
        by_key.pop(key).answer_by_key(earlier[binding.subject_id], binding.fingerprint)
    return by_key


async def _answer_by_external_id(tx: Connection, creates: Sequence[PendingCreate]) -> None:
    """Answer the requests whose external id the account has already."""
    named = [(create, id_) for create in creates if (id_ := create.external_id)]
    found = await subjects.by_external_id(tx, [id_ for _, id_ in named]) if named else {}
    for create, id_ in named:
        if id_ in found:
            create.answer_by_external_id(found[id_])


async def _refuse_beyond_limit(
    tx: Connection, resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Refuse what the queues of the accounts have no room for. Several requests of one external id
    take up one place."""
    wanted: defaultdict[str, dict[object, list[PendingCreate]]] = defaultdict(dict)
    for create in creates:
        places = wanted[create.request.account_id]
        places.setdefault(create.external_id or create, []).append(create)
    limit = resources.queue_limit
    beyond = [
        create
        for account_id, available in (await limit.available(tx, wanted, now)).items()
        for alike in list(wanted[account_id].values())[max(0, available) :]
        for create in alike
    ]
    await _answer_by_external_id(tx, beyond)  # whoever filled the queue may have written just these
    for create in _undecided(beyond):
        message = f"{limit.limit} subjects of this account are queued already"
        create.result = TooManyRequests(message, QUEUE_FULL, QUEUE_FULL_RETRY_AFTER)


async def _assign_callback_subscribers(
    tx: Connection, resources: Resources, creates: Sequence[PendingCreate]
) -> None:
    """Give each subject whose request has a callback_url the hidden subscriber of its origin."""
    wanted = {
        create: (create.request.account_id, origin_of(url))
        for create in creates
        if (url := create.request.callback_url)
    }
    ids = await ensure_callback_url_subscribers(tx, resources, sorted(set(wanted.values())))
    for create, account_origin in wanted.items():
        create.subject = replace(create.subject, callback_subscriber_id=ids[account_origin])


async def _add_subjects(tx: Connection, creates: Sequence[PendingCreate]) -> list[PendingCreate]:
    """Write what is new, and give it. What an equal request wrote in the meantime, or stands twice
    among these, is answered with that."""
    if not creates:
        return []
    media_due = {create.subject.id for create in creates if create.has_media_urls}
    ids = await insert.add_subjects(tx, [create.subject for create in creates], media_due)
    await _answer_by_external_id(tx, [create for create in creates if create.subject.id not in ids])
    return [create for create in creates if create.subject.id in ids]


async def _store_media(tx: Connection, added: Sequence[PendingCreate], now: datetime) -> None:
    """Keep the inline media of new subjects; those of heavy requests are kept already."""
    inline: dict[str, bytes] = {}
    for create in added:
        if not create.request.has_large_media:
            inline |= create.request.inline
    if inline:
        await inline_media.save(tx, inline, now)
    needed = [(create.subject.id, hash_) for create in added for hash_ in create.request.inline]
    if needed:
        await inline_media.link(tx, needed)


async def _add_events(tx: Connection, resources: Resources, added: Sequence[PendingCreate]) -> int:
    """Write the first event of new subjects; how many deliveries that made."""
    new = [NewEvent(subject_event(create.subject), resources.new_id("dlv")) for create in added]
    return await events.append(tx, new) if new else 0


async def _bind_keys(
    tx: Connection, free_keys: Mapping[AccountAndKey, PendingCreate], now: datetime
) -> None:
    """Bind free keys to what their requests made or found; a refused request binds none."""
    bindings = {
        key: Binding(subject.fingerprint, subject.id)
        for key, create in free_keys.items()
        if (subject := create.bound_subject) is not None
    }
    if bindings:
        await idempotency.bind(tx, bindings, now)
