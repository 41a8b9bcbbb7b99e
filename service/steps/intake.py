"""Taking a request in: checked whole, then one transaction, then a wake."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.core.errors import Conflict, Finding, Invalid, NotFound
from service.core.events import event_of
from service.core.lifecycle import State
from service.core.rules import Request, check
from service.core.subjects import Subject
from service.queue import Work
from service.steps.resources import Resources
from service.store import accounts, events, idempotency, media, subjects
from service.store.database import Transaction
from service.store.events import New

KEY_LIFE = timedelta(hours=24)  # design, section 5, "Create"
MAX_KEY = 255  # characters; the usual bound of such headers


@dataclass(frozen=True, slots=True)
class Accepted:
    """`created` is False where the same request had been accepted before."""

    subject: Subject
    created: bool
    warnings: tuple[Finding, ...]


async def accept(
    resources: Resources, account_id: str, body: object, idempotency_key: str | None = None
) -> Accepted:
    """Queue a subject; the same request again gives the same subject.

    Invalid with every broken rule; Conflict if the key or the external id stands for another
    request. When this returns, subject, event and deliveries are committed.
    """
    request = check(body, voice_for_images=resources.settings.voice_for_images)
    _check_key(idempotency_key)
    subject = _new(resources, account_id, request)
    deliveries = 0
    async with resources.database.transaction() as tx:
        earlier = await _earlier(tx, account_id, request, idempotency_key, subject.created_at)
        if earlier is None:
            earlier = await _store(tx, subject, request, idempotency_key)
        if earlier is None:
            deliveries = await events.append(tx, [New(event_of(subject), resources.new_id("dlv"))])
    if earlier is not None:
        return Accepted(earlier, created=False, warnings=request.warnings)
    resources.queue.wake(Work.SUBMIT, subject.id)
    if deliveries:
        resources.queue.wake(Work.DELIVER, subject.id)
    return Accepted(subject, created=True, warnings=request.warnings)


async def accept_for(
    resources: Resources, account: str, body: object, idempotency_key: str | None
) -> Accepted:
    """The same for an account by name, on behalf of a back end on our own Redis."""
    async with resources.database.transaction() as tx:
        account_id = await accounts.by_name(tx, str(account))
    if account_id is None:
        raise NotFound("there is no account of this name")
    return await accept(resources, account_id, body, idempotency_key)


def _check_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        message = f"Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters"
        raise Invalid([Finding("", "idempotency_key", message)])


def _new(resources: Resources, account_id: str, request: Request) -> Subject:
    now = resources.clock()
    return Subject(
        id=resources.new_id("sub"),
        account_id=account_id,
        external_task_id=request.external_task_id,
        fingerprint=request.fingerprint,
        document=request.document,
        state=State.QUEUED,
        version=1,
        provider_task_id=None,
        provider_updated_at=None,
        result=None,
        error=None,
        lease_token=None,
        lease_until=None,
        attempt=0,
        claimed_at=None,
        next_try_at=now,
        polls=0,
        next_poll_at=None,
        deadline=now + timedelta(seconds=resources.settings.task_deadline),
        created_at=now,
        updated_at=now,
        finished_at=None,
    )


async def _earlier(
    tx: Transaction, account_id: str, request: Request, key: str | None, now: datetime
) -> Subject | None:
    """The subject that this very request made before, by its key or by its external id."""
    if key is not None:
        await idempotency.lock(tx, account_id, key)
        bound = await idempotency.get(tx, account_id, key, now - KEY_LIFE)
        if bound is not None:
            _same(bound.fingerprint, request, "Idempotency-Key", "idempotency_key_reused")
            return await subjects.get(tx, bound.subject_id, account_id)
    if request.external_task_id is None:
        return None
    subject = await subjects.by_external_id(tx, account_id, request.external_task_id)
    if subject is not None:
        _same(subject.fingerprint, request, "external_task_id", "external_task_id_taken")
    return subject


async def _store(
    tx: Transaction, subject: Subject, request: Request, key: str | None
) -> Subject | None:
    """Write all but the event; or the subject that an equal request wrote in the meantime."""
    await media.keep(tx, request.inline, subject.created_at)
    if not await subjects.add(tx, subject, request.tags):
        # The unique key waited for the other's commit, so it can be read now.
        return await _earlier(tx, subject.account_id, request, None, subject.created_at)
    await subjects.need_media(tx, subject.id, sorted(request.inline))
    if key is not None:
        await idempotency.bind(
            tx,
            account_id=subject.account_id,
            key=key,
            fingerprint=request.fingerprint,
            subject_id=subject.id,
            now=subject.created_at,
        )
    return None


def _same(fingerprint: str, request: Request, what: str, code: str) -> None:
    if fingerprint != request.fingerprint:
        message = f"this {what} was used before, with another request"
        raise Conflict(message, code)
