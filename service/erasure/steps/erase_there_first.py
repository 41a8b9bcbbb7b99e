"""Erasure that begins at the provider: it is asked to delete what it made, and what is held here is
wiped once that is done. Where there is nothing to delete, that is at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.erasure.domain.erasure import Erasure, ErasureState
from service.erasure.steps.erase import Erased, batches, erase_in, found_one, log_erased
from service.erasure.store import erasures
from service.kit.database.connection import Connection
from service.kit.errors import NotFound
from service.resources import Resources
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects

log = structlog.get_logger()


@dataclass(slots=True)
class Asked:
    """What became of subjects that were to be erased at the provider first."""

    pending: list[tuple[Subject, Erasure]] = field(default_factory=list)  # there, and so here
    requested: list[Subject] = field(default_factory=list)  # those of them that had not been so
    erased: Erased = field(default_factory=Erased)  # all others

    def add(self, other: "Asked") -> None:
        """Add what became of others."""
        self.pending += other.pending
        self.requested += other.requested
        self.erased.add(other.erased)


async def erase(
    resources: Resources, account_id: str, subject_id: str, actor: Actor | None = None
) -> tuple[Subject, Erasure]:
    """Ask the provider to delete what it made of a subject, which is then erased here; the subject,
    and how far that is, pending or done. `actor`: who does it, for the action log; None: a caller
    does. NotFound if the account has no such subject; Conflict while it is not finished."""
    async with resources.database.transaction() as tx:
        if await subjects.get(tx, subject_id, account_id) is None:
            raise NotFound
        asked = await ask_in(tx, resources, [subject_id], actor)
        deletions = await erasures.by_subjects(tx, [subject_id])
    log_asked(asked)
    if asked.pending:
        return asked.pending[0]
    return found_one(asked.erased), deletions[subject_id]


async def erase_all(
    resources: Resources, subject_ids: Sequence[str], actor: Actor | None = None
) -> Asked:
    """Ask the provider to delete what it made of subjects of any account, which are then erased
    here, some in each transaction; those that are not finished are left alone."""
    asked = Asked()
    for ids in batches(subject_ids):
        async with resources.database.transaction() as tx:
            batch = await ask_in(tx, resources, ids, actor)
        log_asked(batch)
        asked.add(batch)
    return asked


async def ask_in(
    tx: Connection, resources: Resources, subject_ids: Sequence[str], actor: Actor | None = None
) -> Asked:
    """Ask for the deletion of what the provider made of subjects in the caller's transaction, which
    calls log_asked() once it is committed; those of which it has nothing are erased in it."""
    now, asked = resources.clock(), Asked()
    for subject in await subjects.lock_all(tx, ids=subject_ids, provider_task_ids=[]):
        if subject.finished_at is None:
            continue
        erasure = await _request(tx, subject, now)
        if erasure.state is ErasureState.PENDING:
            asked.pending.append((subject, erasure))
            if erasure.requested_at == now:
                asked.requested.append(subject)
    for subject in asked.requested:
        kind, after = ActionKind.SUBJECT_ERASED, {"erasure": ErasureState.PENDING.value}
        action = Action(kind, subject.id, subject.account_id, after=after)
        await action_log.record(tx, resources, actor, action)
    waiting = {subject.id for subject, _ in asked.pending}
    others = [id_ for id_ in subject_ids if id_ not in waiting]
    asked.erased = await erase_in(tx, resources, others, actor)
    return asked


async def _request(tx: Connection, subject: Subject, now: datetime) -> Erasure:
    """Ask for one deletion; it is done if there is nothing to delete. What the provider made of a
    subject that failed here after it was sent is not known: it is asked first."""
    element_id = None if subject.result is None else str(subject.result["element_id"])
    may_be_made = subject.state is State.FAILED and subject.attempts > 0
    nothing_there = element_id is None and not may_be_made
    return await erasures.request(tx, subject.id, element_id, now, nothing_there=nothing_there)


def log_asked(asked: Asked) -> None:
    """Log what was asked for and what was erased, after its commit: each is a line of ids and
    moment, which is kept outside the database."""
    for subject in asked.requested:
        log.info(
            "erasure",
            action="erasure_requested",
            subject=subject.id,
            account=subject.account_id,
        )
    log_erased(asked.erased)
