"""Cancels a subject that is still queued."""

from service.kit.errors import Conflict, NotFound
from service.resources import Resources
from service.status.steps.read import get_subject
from service.subjects.domain.lifecycle import Ignored, Signal
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition


async def cancel(resources: Resources, account_id: str, subject_id: str) -> Subject:
    """Cancel a subject and return it, also if it was canceled before. NotFound if the account has
    no such subject; Conflict, with its state, if it was submitted or has ended otherwise."""
    await get_subject(resources, account_id, subject_id)
    update = StatusUpdate(Signal.CANCEL)
    result = await transition(resources, subject_id, update, source=SignalSource.CANCEL)
    if result is None:
        raise NotFound
    if result.ignored is Ignored.DENIED:
        state = result.after.state.value
        raise Conflict(
            f"The subject is {state}. Only a queued subject can be canceled.", state=state
        )
    return result.after
