"""Erasure of finished subjects: what they held is wiped in every table, and a tombstone stays,
which dedup and audit need. What was still to be told is canceled, and `subject.deleted` takes its
place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.erasure.domain.tombstone import tombstone
from service.erasure.store import erase as erase_store
from service.kit.database.connection import Connection
from service.kit.errors import Conflict, NotFound
from service.kit.timestamps import format_rfc3339
from service.media.domain.references import media_references
from service.resources import Resources
from service.subjects.domain.event import erased_event
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects
from service.subjects.store.events import NewEvent

log = structlog.get_logger()

BATCH = 100  # subjects of one transaction, which takes some 50 ms


@dataclass(slots=True)
class Erased:
    """What became of subjects that were to be erased."""

    now: list[Subject] = field(default_factory=list)  # their tombstones: wiped by this
    before: list[Subject] = field(default_factory=list)  # tombstones since earlier
    unfinished: list[Subject] = field(default_factory=list)  # left as they are
    unknown: list[str] = field(default_factory=list)  # ids that no subject has

    def add(self, other: "Erased") -> None:
        """Add what became of others."""
        self.now += other.now
        self.before += other.before
        self.unfinished += other.unfinished
        self.unknown += other.unknown


async def erase(
    resources: Resources, account_id: str, subject_id: str, actor: Actor | None = None
) -> Subject:
    """Erase a subject, and return its tombstone, also if it was erased before. `actor`: who does
    it, for the action log; None: a caller does. NotFound if the account has no such subject;
    Conflict, with its state, while it is not finished."""
    async with resources.database.transaction() as tx:
        found = await subjects.get(tx, subject_id, account_id)
        if found is None:
            raise NotFound
        erased = await erase_in(tx, resources, [subject_id], actor)
    log_erased(erased)
    return found_one(erased)


def found_one(erased: Erased) -> Subject:
    """The tombstone of the one subject that was to be erased; Conflict, with its state, if it is
    not finished, NotFound if it is gone."""
    for subject in erased.unfinished:
        state = subject.state.value
        message = f"The subject is {state}. Only a finished subject can be erased."
        raise Conflict(message, "not_finished", state=state)
    if erased.unknown:
        raise NotFound
    return (erased.now + erased.before)[0]


async def erase_again(
    resources: Resources, subject_ids: Sequence[str], actor: Actor | None = None
) -> Erased:
    """Erase subjects of any account, some in each transaction; those that were erased before stay
    as they are, and those that are not finished are left alone."""
    erased = Erased()
    for ids in batches(subject_ids):
        async with resources.database.transaction() as tx:
            batch = await erase_in(tx, resources, ids, actor)
        log_erased(batch)
        erased.add(batch)
    return erased


def batches(subject_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """These ids, each once and in their order, as many at a time as one transaction erases."""
    ids = sorted(set(subject_ids))
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


async def erase_in(
    tx: Connection, resources: Resources, subject_ids: Sequence[str], actor: Actor | None = None
) -> Erased:
    """Erase subjects in the caller's transaction, which calls log_erased() once it is committed.

    The rows are locked in the order that subscribers/store/subscribers.py has: the subjects, then
    those who are told of it, then deliveries.
    """
    found = await subjects.lock_all(tx, ids=subject_ids, provider_task_ids=[])
    known = {subject.id for subject in found}
    erased = Erased(
        before=[subject for subject in found if subject.erased_at is not None],
        unfinished=[subject for subject in found if subject.finished_at is None],
        unknown=[id_ for id_ in subject_ids if id_ not in known],
    )
    whole = [subject for subject in found if subject.finished_at and not subject.erased_at]
    if whole:
        erased.now = await _wipe(tx, resources, whole)
    for subject in erased.now:
        action = Action(ActionKind.SUBJECT_ERASED, subject.id, subject.account_id)
        await action_log.record(tx, resources, actor, action)
    return erased


async def _wipe(tx: Connection, resources: Resources, whole: Sequence[Subject]) -> list[Subject]:
    """Wipe what these subjects held, which are locked; their tombstones."""
    now = resources.clock()
    tombstones = [tombstone(subject, now) for subject in whole]
    events = [
        NewEvent(erased_event(after, after.erased_at or now, before.tags))
        for before, after in zip(whole, tombstones, strict=True)
    ]
    hashes = {
        media.content_hash
        for subject in whole
        for media in media_references(subject.document)
        if media.content_hash is not None
    }
    await erase_store.write_tombstones(tx, tombstones, events)
    await erase_store.cancel_deliveries(tx, tombstones, events, now)
    await erase_store.wipe_others(tx, tombstones, events, sorted(hashes))
    return tombstones


def log_erased(erased: Erased) -> None:
    """Log each erasure after its commit: a line of ids and moment, which is kept outside the
    database, and by which it is done again after a restore."""
    for subject in erased.now:
        log.info(
            "subject",
            action="subject_erased",
            subject=subject.id,
            account=subject.account_id,
            at=format_rfc3339(subject.erased_at),
        )
