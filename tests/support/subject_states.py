"""Subjects in every state, by the signals that lead there."""

from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api

RESULT = {"element_id": "7"}
ERROR = {"code": "provider_refused", "message": "no", "provider_code": 1301}

# How a queued subject gets into each state: the signals it is given.
WAYS: dict[State, list[StatusUpdate]] = {
    State.QUEUED: [],
    State.SUBMITTING: [],
    State.UNCONFIRMED: [StatusUpdate(Signal.LOST)],
    State.SUBMITTED: [StatusUpdate(Signal.SUBMITTED, provider_task_id="1")],
    State.PROCESSING: [StatusUpdate(Signal.PROCESSING, provider_task_id="2")],
    State.SUCCEEDED: [StatusUpdate(Signal.SUCCEEDED, provider_task_id="3", result=RESULT)],
    State.FAILED: [StatusUpdate(Signal.REFUSED, error=ERROR)],
    State.CANCELED: [],
}


async def reach(api: Api, state: State) -> str:
    """The id of a subject in that state."""
    subject_id: str = (await api.create())["id"]
    if state is State.CANCELED:
        await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    elif state is not State.QUEUED:
        await submit.claim(api.resources, 1)
    for news in WAYS[state]:
        await transition(api.resources, subject_id, news)
    assert (await api.read(subject_id))["state"] == state
    return subject_id
