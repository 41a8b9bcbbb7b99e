"""Verify stored callbacks again: those rejected for their secret, and those of unknown tasks."""

from datetime import timedelta

import structlog
from msgspec.structs import replace

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.callbacks.domain.callback import Callback, RawCallback
from service.callbacks.domain.url_tokens import callback_token
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import ingest
from service.callbacks.steps.apply import CallbackResult
from service.callbacks.steps.ingest import SecretsChanged
from service.callbacks.steps.read import get_callback
from service.callbacks.steps.verify import verify
from service.callbacks.store import archive, inbox
from service.callbacks.store.archive import CallbackRecord
from service.kit.errors import Conflict, NotFound, Unavailable
from service.provider.domain.task_reports import read_callback
from service.resources import Resources

log = structlog.get_logger()

MAX_UNMATCHED_AGE = timedelta(hours=1)  # later, polling has found out what an unmatched one reports
BATCH_SIZE = 100  # callbacks read at a time
REVERIFIABLE = frozenset({Verdict.REJECTED, Verdict.UNKNOWN})  # nothing was made of these


async def reverify(
    resources: Resources, callback_id: str, actor: Actor | None = None
) -> CallbackRecord:
    """Verify a callback again by the secrets in force now; the callback as it is stored then, under
    another id if the same message had been received again meanwhile. `actor`: who has it verified,
    for the action log.

    Conflict if it is rejected again, was not rejected or unmatched, or was erased; NotFound if it
    is gone.
    """
    record = await get_callback(resources, callback_id)
    verdict = record.summary.verdict
    if verdict not in REVERIFIABLE:
        message = f"The callback was not rejected: its verdict is {verdict}."
        raise Conflict(message, "not_rejected", verdict=verdict)
    if record.erased:
        raise Conflict("What the callback held was erased with its subject.", "callback_erased")
    await _refresh_secrets(resources)
    callback = await _verify_again(resources, record, actor)
    if callback.refusal is not None:
        reason = str(callback.refusal)
        raise Conflict(reason, "still_rejected", reason=reason)
    async with resources.database.autocommit() as tx:
        stored = await archive.get(tx, callback_id)
        stored = stored or await archive.by_dedup_key(tx, callback.raw.source, callback.dedup_key)
    if stored is None:
        raise NotFound
    return stored


async def reverify_all(resources: Resources, source: str) -> tuple[int, int]:
    """Verify all rejected callbacks of a source again; how many, and how many are accepted now."""
    verified, accepted, last_id = 0, 0, ""
    while True:
        async with resources.database.autocommit() as tx:
            ids = await archive.rejected_ids(tx, source, last_id, BATCH_SIZE)
        await _refresh_secrets(resources)
        for callback_id in ids:
            callback = await _verify_safely(resources, callback_id, Verdict.REJECTED)
            verified += callback is not None
            accepted += callback is not None and callback.refusal is None
        if len(ids) < BATCH_SIZE:
            return verified, accepted
        last_id = ids[-1]


async def reverify_unmatched(resources: Resources) -> None:
    """Apply callbacks that named no subject when they were received, and now name one."""
    async with resources.database.autocommit() as tx:
        since = resources.clock() - MAX_UNMATCHED_AGE
        ids = await archive.now_matching_ids(tx, since, BATCH_SIZE)
    for callback_id in ids:
        await _verify_safely(resources, callback_id, Verdict.UNKNOWN)


async def _verify_safely(
    resources: Resources, callback_id: str, verdict: Verdict
) -> Callback | None:
    """Verify a callback again if it still has this verdict; None if it has not, was erased, or at a
    fault, which is logged and must not stop the others."""
    try:
        record = await get_callback(resources, callback_id)
        if record.summary.verdict != verdict or record.erased:
            return None
        return await _verify_again(resources, record)
    except NotFound:
        return None
    except Unavailable:
        raise
    except Exception:
        log.exception("reverify", action="fault", callback=callback_id)
        return None


async def _verify_again(
    resources: Resources, record: CallbackRecord, actor: Actor | None = None
) -> Callback:
    """Replace a stored callback by what it comes to now, under the id it has; the callback as it
    was verified. If it is refused again, only its reason changes; if another process replaces it
    first, nothing does."""
    callback = _callback_of(resources, record)
    if callback.refusal is not None:
        reason = str(callback.refusal)
        async with resources.database.autocommit() as tx:
            await archive.set_reason(tx, record.summary.id, record.summary.verdict, reason)
        return callback
    try:
        async with resources.database.transaction() as tx:
            await inbox.lock_subjects(tx, [callback])
            times_received = await archive.remove(tx, record.summary.id, record.summary.verdict)
            if times_received is None:
                return callback
            again = replace(callback, times_received=times_received)
            (result,) = await ingest.store_and_apply(tx, resources, [again])
            await action_log.record(tx, resources, actor, _action(record, result))
    except SecretsChanged:
        await _refresh_secrets(resources)
        return await _verify_again(resources, record, actor)
    ingest.log_results([callback], [result])
    return callback


def _action(record: CallbackRecord, result: CallbackResult) -> Action:
    account_id = None if result.transition is None else result.transition.after.account_id
    before, after = {"verdict": record.summary.verdict}, {"verdict": result.verdict}
    return Action(ActionKind.CALLBACK_REVERIFIED, record.summary.id, account_id, before, after)


async def _refresh_secrets(resources: Resources) -> None:
    """Read the secrets in force: a callback that is refused is stored without comparing them."""
    async with resources.database.autocommit() as tx:
        await resources.webhook_secrets.refresh(tx)


def _callback_of(resources: Resources, record: CallbackRecord) -> Callback:
    """The stored callback as if it were received now, but with its id and its time of receipt."""
    summary, token = record.summary, record.token
    if token is None and summary.subject_id is not None:
        token = callback_token(resources.callback_token_key, summary.subject_id)
    raw = RawCallback(
        summary.source, token, record.headers, record.body, summary.received_at, secrets_hashed=True
    )
    if summary.verdict is Verdict.REJECTED:
        return replace(verify(resources, raw), id=summary.id)
    return Callback(
        raw=raw,
        id=summary.id,
        dedup_key=record.dedup_key,
        verification=summary.verification,
        subject_id=summary.subject_id,
        body=record.body,
        headers=record.headers,
        report=read_callback(record.body),
        secrets_version=None,
        task_id=summary.task_id,
        status=summary.status,
        provider_updated_at=summary.provider_updated_at,
    )
