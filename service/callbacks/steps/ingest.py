"""A callback from its message to its subject's transition: stored once, and applied if it is
news; then, and only then, answered.

The story, and the file that tells each sentence of it:

1. Verify: a message is checked and read, or refused with the reason: callbacks/steps/verify.py.
2. Load: the subjects that the batch is about are locked: subjects/store/subjects.py.
3. Dedup: what is stored under the same keys, and was said before: callbacks/store/inbox.py.
4. Fire: what each callback says is put to the table of states: callbacks/steps/apply.py.
5. Save: callbacks and subjects are written in one statement: subjects/store/transitions.py.
6. Event: the same statement writes events and their deliveries: subjects/store/events.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog

from service.callbacks.domain.callback import Callback
from service.callbacks.steps.apply import CallbackResult, apply_batch
from service.callbacks.steps.verify import verify
from service.callbacks.store import archive, inbox
from service.callbacks.store.archive import CallbackSummary
from service.job_queue import Work
from service.kit.database.connection import Connection
from service.reconciliation.store import polls
from service.resources import Resources
from service.subjects.steps import transition
from service.subjects.store import subjects, transitions

log = structlog.get_logger()

# What anybody can make us keep, of each of two kinds: at an address of ours, and at no such one.
MAX_UNTRUSTED = 10_000
MAX_UNTRUSTED_BYTES = 64_000_000


class SecretsChanged(Exception):
    """The callbacks were verified with other secrets than those in force."""


class TransitionConflict(Exception):
    """Somebody else has verified the stored callback again, or removed it, meanwhile."""


async def ingest(resources: Resources, callbacks: Sequence[Callback]) -> list[CallbackResult]:
    """Store and apply callbacks in one transaction, with as many statements for many as for one.

    When this returns, all are durable; if it raises, none was written.
    """
    try:
        async with resources.database.transaction() as tx:
            results, deliveries = await store_and_apply(tx, resources, callbacks)
    except SecretsChanged:
        async with resources.database.autocommit() as tx:
            await resources.webhook_secrets.refresh(tx)
        return await ingest(resources, [verify(resources, callback.raw) for callback in callbacks])
    for callback, result in zip(callbacks, results, strict=True):
        log_and_wake(resources, callback, result, deliveries)
    return results


async def store_and_apply(
    tx: Connection,
    resources: Resources,
    callbacks: Sequence[Callback],
    *,
    replaced: CallbackSummary | None = None,
) -> tuple[list[CallbackResult], int]:
    """What each comes to, and how many deliveries were made.

    `replaced` is a stored one that the one of `callbacks` takes the place of; TransitionConflict,
    if it is not there any more as it was read. SecretsChanged, if others are in force.
    """
    # The subjects' locks come first, in the order of their ids: copies that arrive elsewhere at
    # once queue up behind them, and then find what was stored here.
    locked = await subjects.lock_all(
        tx,
        ids=_distinct(c.subject_id or c.report.external_task_id for c in callbacks),
        provider_task_ids=_distinct(c.task_id for c in callbacks),
    )
    if replaced is not None:
        seen = await archive.remove(tx, replaced.id, replaced.verdict)
        if seen is None:
            raise TransitionConflict
        callbacks = [replace(callback, times_received=seen) for callback in callbacks]
    keys = sorted({(callback.raw.source, callback.dedup_key) for callback in callbacks})
    context = await inbox.batch_context(tx, keys, [subject.id for subject in locked])
    resources.typical_durations.update(context.typical_durations)
    in_force = {None, context.secrets_version}
    if any(callback.secrets_version not in in_force for callback in callbacks):
        raise SecretsChanged
    batch = apply_batch(resources, locked, context, callbacks)
    deliveries = await transitions.write(tx, batch.transitions, batch.stored)
    for kind in {callback.verification for callback in callbacks if callback.untrusted}:
        await inbox.trim(tx, kind, MAX_UNTRUSTED, MAX_UNTRUSTED_BYTES)
    await polls.schedule_poll(tx, batch.to_poll, resources.clock())
    return batch.results, deliveries


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


def log_and_wake(
    resources: Resources, callback: Callback, result: CallbackResult, deliveries: int
) -> None:
    """After the commit, one log line for each callback: that of its move, or why there was none;
    and wakes for whoever has work now."""
    outcome = result.outcome
    if outcome is not None and outcome.ignored is None:
        signal = f"callback {callback.report.status_word[:50]}"
        transition.log_and_wake(resources, outcome, signal, deliveries)
        return
    log.info(
        "callback",
        action="callback_kept",
        callback=callback.id,
        source=callback.raw.source,
        subject=callback.subject_id,
        provider_task=callback.task_id,
        word=callback.status,
        verdict=result.verdict,
        reason=result.reason,
    )
    if result.poll is not None:
        resources.worker_notifier.wake(Work.RECONCILE)
