"""A callback: kept once, applied if it is news; then, and only then, answered."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog

from service.job_queue import Work
from service.steps.advance import announce
from service.steps.apply import Docket, Taken
from service.steps.resources import Resources
from service.steps.verify import Incoming, receive
from service.store import archive, inbox, moves, subjects
from service.store.archive import Summary
from service.store.connection import Connection

log = structlog.get_logger()

# What anybody can make us keep, of each of two kinds: at an address of ours, and at no such one.
MOST_DOUBTFUL = 10_000
MOST_DOUBTFUL_BYTES = 64_000_000


class OtherSecrets(Exception):
    """They were verified with other secrets than those in force."""


class Overtaken(Exception):
    """Somebody else has judged it again, or let go of it, meanwhile."""


async def store(resources: Resources, incoming: Sequence[Incoming]) -> list[Taken]:
    """Keep and apply callbacks in one transaction, with as many statements for many as for one.

    When this returns, all are durable; if it raises, none was written.
    """
    try:
        async with resources.database.transaction() as tx:
            taken, deliveries = await write(tx, resources, incoming)
    except OtherSecrets:
        async with resources.database.autocommit() as tx:
            await resources.keyring.refresh(tx)
        return await store(resources, [receive(resources, one.received) for one in incoming])
    for one, result in zip(incoming, taken, strict=True):
        tell(resources, one, result, deliveries)
    return taken


async def write(
    tx: Connection,
    resources: Resources,
    incoming: Sequence[Incoming],
    *,
    anew: Summary | None = None,
) -> tuple[list[Taken], int]:
    """What each comes to, and how many deliveries were made.

    `anew` is a kept one that is judged again, and is replaced by the one of `incoming`; Overtaken,
    if it is not there any more as it was read. OtherSecrets, if these were verified with such.
    """
    # The subjects' locks come first, in the order of their ids: copies that arrive elsewhere at
    # once queue up behind them, and then find what was kept here.
    locked = await subjects.lock_all(
        tx,
        ids=_distinct(one.callback.subject_id or one.report.external_task_id for one in incoming),
        provider_task_ids=_distinct(one.callback.task_id for one in incoming),
    )
    if anew is not None:
        seen = await archive.remove(tx, anew.id, anew.verdict)
        if seen is None:
            raise Overtaken
        incoming = [replace(one, seen=seen) for one in incoming]
    keys = sorted({(one.callback.source, one.callback.dedup_key) for one in incoming})
    known = await inbox.known(tx, keys, [subject.id for subject in locked])
    resources.learnt.take(known.typical_durations)
    if any(one.version not in {None, known.secrets_version} for one in incoming):
        raise OtherSecrets
    docket = Docket(resources, locked, known)
    taken = docket.judge_all(incoming)
    deliveries = await moves.write(tx, docket.moves(), docket.kept)
    for trust in {one.callback.trust for one in incoming if one.doubtful}:
        await inbox.trim(tx, trust, MOST_DOUBTFUL, MOST_DOUBTFUL_BYTES)
    await subjects.ask_at(tx, docket.to_ask, resources.clock())
    return taken, deliveries


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


def tell(resources: Resources, one: Incoming, taken: Taken, deliveries: int) -> None:
    """One line for each callback: that of its move, or why there was none."""
    outcome = taken.outcome
    if outcome is not None and outcome.stay is None:
        announce(resources, outcome, f"callback {one.report.word[:50]}", deliveries)
        return
    log.info(
        "callback",
        action="callback_kept",
        callback=one.callback.id,
        source=one.callback.source,
        subject=one.callback.subject_id,
        provider_task=one.callback.task_id,
        word=one.callback.status,
        verdict=taken.verdict,
        reason=taken.reason,
    )
    if taken.ask is not None:
        resources.queue.wake(Work.RECONCILE)
