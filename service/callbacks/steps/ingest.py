"""Ingest callbacks: store each once, apply it, and only then have it answered. The path of one is:

1. Verify: its signature and body are checked: callbacks/steps/verify.py.
2. Read: the subjects that the batch is about, and what is stored of them: callbacks/store/inbox.py.
3. Apply: deduplicate; the state machine decides on what it reports: callbacks/steps/apply.py.
4. Write: all of it, with events and deliveries, in one statement, which fails if a subject is not
   any more as it was read: subjects/store/transitions.py. Then all is done again under locks.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps.apply import CallbackBatch, CallbackResult
from service.callbacks.steps.verify import verify
from service.callbacks.store import inbox
from service.kit.database.connection import Connection
from service.kit.database.guards import GuardFailed
from service.metrics import CALLBACKS
from service.reconciliation.store import polls
from service.resources import Resources
from service.subjects.domain.signal_source import SignalSource
from service.subjects.steps import transition
from service.subjects.steps.transition_metrics import count_transitions
from service.subjects.store import transitions

log = structlog.get_logger()

# The bounds of what anybody can make us store: of callbacks to an address of ours, and of others.
MAX_UNTRUSTED = 10_000
MAX_UNTRUSTED_BYTES = 64_000_000

OTHER_SOURCE: Final = "other"  # in metrics: a source that is not configured


class SecretsChanged(Exception):
    """The callbacks were verified with other webhook secrets than those in force."""


async def ingest(resources: Resources, callbacks: Sequence[Callback]) -> list[CallbackResult]:
    """Store and apply callbacks, with as many statements for many as for one; the result of each,
    in their order.

    When this returns, all are durable; if it raises, none was written.
    """
    try:
        results = await _store_and_apply_at_once(resources, callbacks)
    except SecretsChanged:
        async with resources.database.autocommit() as tx:
            await resources.webhook_secrets.refresh(tx)
        return await ingest(resources, [verify(resources, callback.raw) for callback in callbacks])
    _count_verdicts(resources, callbacks, results)
    log_results(callbacks, results)
    return results


async def _store_and_apply_at_once(
    resources: Resources, callbacks: Sequence[Callback]
) -> list[CallbackResult]:
    """Store and apply signed callbacks by what is read without locks, unless that changes before
    it is written. Others take more statements than one that writes, and so a transaction."""
    if all(callback.verification is Verification.SIGNED for callback in callbacks):
        with suppress(GuardFailed):
            async with resources.database.autocommit() as tx:
                return await store_and_apply(tx, resources, callbacks, locked=False)
    async with resources.database.transaction() as tx:
        await inbox.lock_subjects(tx, callbacks)
        return await store_and_apply(tx, resources, callbacks)


async def store_and_apply(
    tx: Connection, resources: Resources, callbacks: Sequence[Callback], *, locked: bool = True
) -> list[CallbackResult]:
    """Store and apply callbacks; the result of each. Workers are notified when it is committed.

    `locked` says that this is in a transaction that holds the subjects' locks. If not, GuardFailed,
    and nothing is written, if a subject changes meanwhile, or if one statement that writes is not
    enough. SecretsChanged if the callbacks were verified with other secrets than those in force.
    """
    context = await inbox.batch_context(tx, callbacks)
    resources.typical_durations.update(context.typical_durations)
    in_force = {None, context.secrets_version}
    if any(callback.secrets_version not in in_force for callback in callbacks):
        raise SecretsChanged
    batch = CallbackBatch(resources, context)
    results = batch.apply_all(callbacks)
    if batch.subjects_to_poll and not locked:
        raise GuardFailed
    await transitions.write(tx, batch.transitions(), batch.to_store(), batch.kept_subjects())
    for verification in {callback.verification for callback in callbacks if callback.untrusted}:
        await inbox.trim(tx, verification, MAX_UNTRUSTED, MAX_UNTRUSTED_BYTES)
    await polls.schedule(tx, batch.subjects_to_poll, resources.clock())
    return results


def show_zeros(sources: Iterable[str]) -> None:
    """Let the metrics of these sources' callbacks be shown before the first of them comes."""
    for source in (*sources, OTHER_SOURCE):
        for verdict in Verdict:
            CALLBACKS.labels(source, verdict)


def _count_verdicts(
    resources: Resources, callbacks: Sequence[Callback], results: Sequence[CallbackResult]
) -> None:
    """Count the callbacks that came. Anybody can name a source in an address: those that are not
    configured count as one."""
    known = resources.settings.callback_sources
    for callback, result in zip(callbacks, results, strict=True):
        source = callback.raw.source if callback.raw.source in known else OTHER_SOURCE
        CALLBACKS.labels(source, result.verdict).inc()


def log_results(callbacks: Sequence[Callback], results: Sequence[CallbackResult]) -> None:
    """After the commit, count and log the callbacks' transitions, or log why there is none."""
    decided = [result.transition for result in results if result.transition is not None]
    count_transitions(decided, SignalSource.CALLBACK)
    moves = []
    for callback, result in zip(callbacks, results, strict=True):
        if result.transition is not None and result.transition.ignored is None:
            moves.append((result.transition, f"callback {callback.report.status_word[:50]}"))
        else:
            _log_stored(callback, result)
    transition.log_transitions(moves)


def _log_stored(callback: Callback, result: CallbackResult) -> None:
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
