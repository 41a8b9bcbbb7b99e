"""Cancels a subject that is still queued."""

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.installation.store import installation
from service.kit.errors import Conflict, NotFound
from service.resources import Resources
from service.status.steps.read import get_subject
from service.subjects.domain.lifecycle import Ignored, Signal, State
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import log_transitions, transition, transition_all_in
from service.subjects.steps.transition_metrics import count_transitions
from service.subjects.store.transitions import Transition

CANCEL = StatusUpdate(Signal.CANCEL)


async def cancel(
    resources: Resources, account_id: str, subject_id: str, actor: Actor | None = None
) -> Subject:
    """Cancel a subject and return it, also if it was canceled before. `actor`: who does it, for the
    action log; None: a caller does. NotFound if the account has no such subject; Conflict, with its
    state, if it was submitted or has ended otherwise, or may have been, as the database is held."""
    found = await get_subject(resources, account_id, subject_id)
    if found.state is State.QUEUED:
        await _refuse_if_held(resources)
    if actor is None:
        result = await transition(resources, subject_id, CANCEL, source=SignalSource.CANCEL)
    else:
        result = await _cancel_by(resources, actor, subject_id)
    if result is None:
        raise NotFound
    if result.ignored is Ignored.DENIED:
        state = result.after.state.value
        raise Conflict(
            f"The subject is {state}. Only a queued subject can be canceled.", state=state
        )
    return result.after


async def _refuse_if_held(resources: Resources) -> None:
    """Conflict, if the database is held: what is queued here may have been submitted since the
    moment to which it was restored, and it would be paid for, and nobody told."""
    async with resources.database.autocommit() as tx:
        held = resources.home.held_by(await installation.read(tx))
    if held is not None:
        message = "The service is held after a restore: the subject may have been submitted."
        raise Conflict(message, "installation_held", state=State.QUEUED.value)


async def _cancel_by(resources: Resources, actor: Actor, subject_id: str) -> Transition | None:
    """Cancel a subject, and write who did it in the same transaction. None if there is none."""
    async with resources.database.transaction() as tx:
        moves = await transition_all_in(
            resources, tx, [subject_id], lambda _: CANCEL, SignalSource.CANCEL
        )
        for move, _ in moves:
            if move.ignored is not Ignored.DENIED:
                await action_log.record(tx, resources, actor, _canceled(move))
    count_transitions([move for move, _ in moves], SignalSource.CANCEL)
    log_transitions(moves)
    return next((move for move, _ in moves), None)


def _canceled(move: Transition) -> Action:
    """The cancel, or a look at what was canceled before, since the answer shows it."""
    subject = move.after
    if move.ignored is not None:
        return Action(ActionKind.CONTENTS_SEEN, subject.id, subject.account_id)
    before, after = {"state": move.before.state}, {"state": subject.state}
    return Action(ActionKind.SUBJECT_CANCELED, subject.id, subject.account_id, before, after)
