"""Stored callbacks: listed, read, and verified again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from service.accounts.store import owners
from service.callbacks.domain.callback import Callback, RawCallback
from service.callbacks.domain.signature_schemes import PLAIN_HEADERS, Ed25519, Hmac, SharedSecret
from service.callbacks.domain.url_tokens import callback_token
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import ingest
from service.callbacks.steps.ingest import SecretsChanged, TransitionConflict
from service.callbacks.steps.verify import verify
from service.callbacks.store import archive
from service.callbacks.store.archive import CallbackFilter, CallbackRecord, CallbackSummary
from service.kit.errors import Conflict, NotFound, Unavailable
from service.provider.domain.task_reports import read_callback
from service.resources import Resources

log = structlog.get_logger()

UNMATCHED_AGE_LIMIT = timedelta(
    hours=1
)  # after it came: later, the provider has been asked long since
BATCH_SIZE = 100  # callbacks that are taken up, or read to be verified again, at a time
REVERIFIABLE = frozenset({Verdict.REJECTED, Verdict.UNKNOWN})  # nothing has been made of these yet
REDACTED = "(kept)"  # shown in place of a header's value that proves


async def list_callbacks(
    resources: Resources, wanted: CallbackFilter, limit: int
) -> tuple[list[CallbackSummary], str | None, dict[str, int]]:
    """The newest first, of every account; the id that the next page begins below; how many there
    are by verdict."""
    async with resources.database.transaction() as tx:
        found, below = await archive.page(tx, wanted, limit)
        counts = await archive.counts(tx)
    return found, below, counts


async def account_names(
    resources: Resources, callbacks: Sequence[CallbackSummary]
) -> list[str | None]:
    """The names of the accounts whose subjects these are about; None where that is none."""
    subject_ids = {summary.subject_id for summary in callbacks if summary.subject_id is not None}
    async with resources.database.autocommit() as tx:
        names = await owners.account_names_by_subject(tx, subject_ids)
    return [names.get(summary.subject_id or "") for summary in callbacks]


async def get_callback(resources: Resources, callback_id: str) -> CallbackRecord:
    """A stored callback, whole; NotFound if there is none of this id."""
    async with resources.database.autocommit() as tx:
        found = await archive.get(tx, callback_id)
    if found is None:
        raise NotFound
    return found


def redacted_headers(resources: Resources, found: CallbackRecord) -> dict[str, str]:
    """Its headers, but for the values that prove: the signature, the shared secret's trace."""
    match resources.settings.callback_sources.get(found.summary.source):
        case SharedSecret() as scheme:
            proving = scheme.header
        case Hmac() | Ed25519() as scheme:
            proving = scheme.signature_header
        case _:
            proving = ""
    open_ = frozenset(PLAIN_HEADERS) - {proving}
    return {name: text if name in open_ else REDACTED for name, text in found.headers.items()}


async def reverify(resources: Resources, callback_id: str) -> CallbackRecord:
    """Verify it again by the secrets in force now; as it is stored then, which is under another id
    if the same message had come again meanwhile.

    Conflict if it is still not believed, or if something was made of it before.
    """
    found = await get_callback(resources, callback_id)
    verdict = found.summary.verdict
    if verdict not in REVERIFIABLE:
        message = f"it was not rejected: its verdict is {verdict}"
        raise Conflict(message, "not_rejected", verdict=verdict)
    await _refresh(resources)
    callback = await _verify_again(resources, found)
    if callback.refusal is not None:
        reason = str(callback.refusal)
        raise Conflict(reason, "still_rejected", reason=reason)
    async with resources.database.autocommit() as tx:
        now = await archive.get(tx, callback_id)
        now = now or await archive.by_dedup_key(tx, callback.raw.source, callback.dedup_key)
    if now is None:
        raise NotFound
    return now


async def reverify_all(resources: Resources, source: str) -> tuple[int, int]:
    """Verify again what was rejected from a source; how many, and how many of them are taken."""
    number, taken, above = 0, 0, ""
    while True:
        async with resources.database.autocommit() as tx:
            ids = await archive.rejected_ids(tx, source, above, BATCH_SIZE)
        await _refresh(resources)
        for callback_id in ids:
            callback = await _safely(resources, callback_id, Verdict.REJECTED)
            number += callback is not None
            taken += callback is not None and callback.refusal is None
        if len(ids) < BATCH_SIZE:
            return number, taken
        above = ids[-1]


async def reverify_unmatched(resources: Resources) -> None:
    """Take up the callbacks that told of nothing we knew, and whose subject has appeared since."""
    async with resources.database.autocommit() as tx:
        ids = await archive.now_matching_ids(
            tx, resources.clock() - UNMATCHED_AGE_LIMIT, BATCH_SIZE
        )
    for callback_id in ids:
        await _safely(resources, callback_id, Verdict.UNKNOWN)


async def _safely(resources: Resources, callback_id: str, verdict: Verdict) -> Callback | None:
    """Verify it again, if it still has this verdict; a fault in it must not keep us from others."""
    try:
        found = await get_callback(resources, callback_id)
        return await _verify_again(resources, found) if found.summary.verdict == verdict else None
    except NotFound:
        return None
    except Unavailable:
        raise
    except Exception:
        log.exception("revisit", action="fault", callback=callback_id)
        return None


async def _verify_again(resources: Resources, found: CallbackRecord) -> Callback:
    """Replace what is stored by what it comes to now, under its own id; as which it was verified.
    Of one that is still refused, only the reason is new.

    Nothing happens to it if somebody else is faster: what they came to is as good.
    """
    callback = _callback_of(resources, found)
    if callback.refusal is not None:
        reason = str(callback.refusal)
        async with resources.database.autocommit() as tx:
            await archive.set_reason(tx, found.summary.id, found.summary.verdict, reason)
        return callback
    try:
        async with resources.database.transaction() as tx:
            (result,), deliveries = await ingest.store_and_apply(
                tx, resources, [callback], replaced=found.summary
            )
    except SecretsChanged:
        await _refresh(resources)
        return await _verify_again(resources, found)
    except TransitionConflict:
        return callback
    ingest.log_and_wake(resources, callback, result, deliveries)
    return callback


async def _refresh(resources: Resources) -> None:
    """See to it that what is refused is refused by the secrets in force."""
    async with resources.database.autocommit() as tx:
        await resources.webhook_secrets.refresh(tx)


def _callback_of(resources: Resources, found: CallbackRecord) -> Callback:
    """As if it came now, but under its own id, and at the time when it did come."""
    summary, token = found.summary, found.token
    if token is None and summary.subject_id is not None:
        token = callback_token(resources.callback_key, summary.subject_id)
    raw = RawCallback(
        summary.source, token, found.headers, found.body, summary.received_at, secrets_hashed=True
    )
    if summary.verdict is Verdict.REJECTED:
        return replace(verify(resources, raw), id=summary.id)
    return Callback(
        raw=raw,
        id=summary.id,
        dedup_key=found.dedup_key,
        verification=summary.verification,
        subject_id=summary.subject_id,
        body=found.body,
        headers=found.headers,
        report=read_callback(found.body),
        secrets_version=None,
        task_id=summary.task_id,
        status=summary.status,
        provider_updated_at=summary.provider_updated_at,
    )
