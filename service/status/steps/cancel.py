"""A caller wants a subject no more: possible as long as it is queued."""

from service.kit.errors import Conflict, NotFound
from service.resources import Resources
from service.status.steps.read import subject
from service.subjects.domain.lifecycle import Ignored, Signal
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition


async def cancel(resources: Resources, account_id: str, subject_id: str) -> Subject:
    """The canceled subject, also if it was canceled before; Conflict, with its state, if it is
    with the provider or has ended otherwise."""
    await subject(resources, account_id, subject_id)
    outcome = await transition(resources, subject_id, StatusUpdate(Signal.CANCEL))
    if outcome is None:
        raise NotFound
    if outcome.ignored is Ignored.DENIED:
        state = outcome.after.state.value
        raise Conflict(f"it is {state}: only a queued subject can be canceled", state=state)
    return outcome.after
