"""Taking a request in: checked whole, then one transaction, then a wake."""

from dataclasses import dataclass, replace
from datetime import timedelta

from service.core.errors import Conflict, Finding, Invalid, NotFound
from service.core.events import event_of
from service.core.lifecycle import State
from service.core.rules import Request, check
from service.core.subjects import Subject
from service.queue import Work
from service.steps import callback_urls
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
    resources: Resources, account_id: str, body: object, idempotency_key: object = None
) -> Accepted:
    """Queue a subject; the same request again gives the same subject.

    Invalid with every broken rule; Conflict if the key or the external id stands for another
    request. When this returns, subject, event and deliveries are committed.
    """
    settings = resources.settings
    request = check(body, voice_for_images=settings.voice_for_images, ports=settings.allowed_ports)
    if request.callback_url is not None:
        flaws = callback_urls.flaws(resources, request.callback_url)
        if flaws:
            raise Invalid(flaws)
    key = _key(idempotency_key)
    subject = _new(resources, account_id, request)
    deliveries = 0
    async with resources.database.transaction() as tx:
        earlier = await _enter(tx, resources, subject, request, key)
        if earlier is None:
            deliveries = await events.append(tx, [New(event_of(subject), resources.new_id("dlv"))])
    if earlier is not None:
        return Accepted(earlier, created=False, warnings=request.warnings)
    resources.queue.wake(Work.SUBMIT, subject.id)
    if deliveries:
        resources.queue.wake(Work.DELIVER, subject.id)
    return Accepted(subject, created=True, warnings=request.warnings)


async def accept_for(
    resources: Resources, account: object, body: object, idempotency_key: object
) -> Accepted:
    """The same for an account by name, on behalf of a back end on our own Redis."""
    account_id = None
    if isinstance(account, str) and account.isprintable():
        async with resources.database.glance() as tx:
            account_id = await accounts.by_name(tx, account)
    if account_id is None:
        raise NotFound("there is no account of this name")
    return await accept(resources, account_id, body, idempotency_key)


def _key(key: object) -> str | None:
    if key is None:
        return None
    if isinstance(key, str) and 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable():
        return key
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
        callback_id=None,
        created_at=now,
        updated_at=now,
        finished_at=None,
    )


async def _enter(
    tx: Transaction, resources: Resources, subject: Subject, request: Request, key: str | None
) -> Subject | None:
    """The subject that this very request made before, by its key or by its external id; None if
    this one is now written, all but its event. The key is bound to whichever it is."""
    if key is not None:
        await idempotency.lock(tx, subject.account_id, key)
        forgotten = subject.created_at - KEY_LIFE
        bound = await idempotency.get(tx, subject.account_id, key, forgotten)
        if bound is not None:
            _same(bound.fingerprint, request, "Idempotency-Key", "idempotency_key_reused")
            return await subjects.get(tx, bound.subject_id, subject.account_id)
    earlier = await _named(tx, subject, request)
    earlier = earlier or await _store(tx, resources, subject, request)
    if key is not None:
        await idempotency.bind(
            tx,
            account_id=subject.account_id,
            key=key,
            fingerprint=request.fingerprint,
            subject_id=(earlier or subject).id,
            now=subject.created_at,
        )
    return earlier


async def _named(tx: Transaction, subject: Subject, request: Request) -> Subject | None:
    """What the account has under this external id; Conflict if another request made it."""
    if request.external_task_id is None:
        return None
    earlier = await subjects.by_external_id(tx, subject.account_id, request.external_task_id)
    if earlier is not None:
        _same(earlier.fingerprint, request, "external_task_id", "external_task_id_taken")
    return earlier


async def _store(
    tx: Transaction, resources: Resources, subject: Subject, request: Request
) -> Subject | None:
    """Write all but the event; or the subject that an equal request wrote in the meantime."""
    if request.callback_url is not None:
        owner, url = subject.account_id, request.callback_url
        subject = replace(subject, callback_id=await callback_urls.lane(tx, resources, owner, url))
    await media.keep(tx, request.inline, subject.created_at)
    if not await subjects.add(tx, subject, request.tags):
        # The unique key waited for the other's commit, so it can be read now.
        return await _named(tx, subject, request)
    await subjects.need_media(tx, subject.id, sorted(request.inline))
    return None


def _same(fingerprint: str, request: Request, what: str, code: str) -> None:
    if fingerprint != request.fingerprint:
        message = f"this {what} was used before, with another request"
        raise Conflict(message, code)
