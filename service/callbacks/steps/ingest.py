"""Ingest callbacks: store each once, apply it, and only then have it answered. The path of one is:

1. Verify: its signature and body are checked: callbacks/steps/verify.py.
2. Lock: the subjects that the batch is about: subjects/store/subjects.py.
3. Deduplicate: by what is stored under the same keys or reports the same: callbacks/store/inbox.py.
4. Apply: the state machine decides on what it reports: callbacks/steps/apply.py.
5. Write: all of it, with events and deliveries, in one statement: subjects/store/transitions.py.
"""

from collections.abc import Iterable, Sequence

import structlog
from msgspec.structs import replace

from service.callbacks.domain.callback import Callback
from service.callbacks.steps.apply import CallbackBatch, CallbackResult
from service.callbacks.steps.verify import verify
from service.callbacks.store import archive, inbox
from service.callbacks.store.archive import CallbackSummary
from service.kit.database.connection import Connection
from service.reconciliation.store import polls
from service.resources import Resources
from service.subjects.steps import transition
from service.subjects.store import subjects, transitions

log = structlog.get_logger()

# The bounds of what anybody can make us store: of callbacks to an address of ours, and of others.
MAX_UNTRUSTED = 10_000
MAX_UNTRUSTED_BYTES = 64_000_000


class SecretsChanged(Exception):
    """The callbacks were verified with other webhook secrets than those in force."""


class CallbackChanged(Exception):
    """Another process has verified the stored callback again, or removed it, meanwhile."""


async def ingest(resources: Resources, callbacks: Sequence[Callback]) -> list[CallbackResult]:
    """Store and apply callbacks in one transaction, with as many statements for many as for one;
    the result of each, in their order.

    When this returns, all are durable; if it raises, none was written.
    """
    try:
        async with resources.database.transaction() as tx:
            results = await store_and_apply(tx, resources, callbacks)
    except SecretsChanged:
        async with resources.database.autocommit() as tx:
            await resources.webhook_secrets.refresh(tx)
        return await ingest(resources, [verify(resources, callback.raw) for callback in callbacks])
    for callback, result in zip(callbacks, results, strict=True):
        log_result(callback, result)
    return results


async def store_and_apply(
    tx: Connection,
    resources: Resources,
    callbacks: Sequence[Callback],
    *,
    replaced: CallbackSummary | None = None,
) -> list[CallbackResult]:
    """Store and apply callbacks in this transaction; the result of each. Workers are notified when
    it commits.

    `replaced` is a stored callback that the only one of `callbacks` replaces; CallbackChanged if
    it is not stored any more with this verdict. SecretsChanged if the callbacks were verified with
    other secrets than those in force.
    """
    # The subjects' locks come first, in the order of their ids: duplicates that arrive elsewhere at
    # the same time wait for them, and then find what was stored here.
    locked = await subjects.lock_all(
        tx,
        ids=_distinct(c.subject_id or c.report.external_task_id for c in callbacks),
        provider_task_ids=_distinct(c.task_id for c in callbacks),
    )
    if replaced is not None:
        times_received = await archive.remove(tx, replaced.id, replaced.verdict)
        if times_received is None:
            raise CallbackChanged
        callbacks = [replace(callback, times_received=times_received) for callback in callbacks]
    keys = sorted({(callback.raw.source, callback.dedup_key) for callback in callbacks})
    context = await inbox.batch_context(tx, keys, [subject.id for subject in locked])
    resources.typical_durations.update(context.typical_durations)
    in_force = {None, context.secrets_version}
    if any(callback.secrets_version not in in_force for callback in callbacks):
        raise SecretsChanged
    batch = CallbackBatch(resources, locked, context)
    results = batch.apply_all(callbacks)
    await transitions.write(tx, batch.transitions(), batch.to_store())
    for verification in {callback.verification for callback in callbacks if callback.untrusted}:
        await inbox.trim(tx, verification, MAX_UNTRUSTED, MAX_UNTRUSTED_BYTES)
    await polls.schedule(tx, batch.subjects_to_poll, resources.clock())
    return results


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


def log_result(callback: Callback, result: CallbackResult) -> None:
    """After the commit, log the callback's transition, or why there is none."""
    if result.transition is not None and result.transition.ignored is None:
        signal = f"callback {callback.report.status_word[:50]}"
        transition.log_transition(result.transition, signal)
        return
    log.info(
        "callback",
        action="callback_stored",
        callback=callback.id,
        source=callback.raw.source,
        subject=callback.subject_id,
        provider_task=callback.task_id,
        status=callback.status,
        verdict=result.verdict,
        reason=result.reason,
    )
