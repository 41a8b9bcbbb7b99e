"""Callbacks about subjects that the provider has: posted, with the verdict that is answered."""

from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.callbacks import TASK_ID, signed_headers, url_token


async def post_callback(
    api: Api, subject_id: str | None, body: bytes, message_id: str = "msg_1"
) -> str:
    """Post a signed body to the subject's address, or to one that names none; the verdict."""
    path = "" if subject_id is None else f"/{url_token(api.resources, subject_id)}"
    headers = signed_headers(body, api.resources.clock(), message_id)
    answer = await api.http.post(f"/callbacks{path}", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["verdict"])


async def submitted_subject(api: Api, task: str = TASK_ID) -> str:
    """The id of a new subject that the provider has as this task."""
    subject_id: str = (await api.create())["id"]
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id=task)
    await transition(api.resources, subject_id, update)
    return subject_id


async def state_of(api: Api, subject_id: str) -> str:
    """The subject's state, as callers read it."""
    return str((await api.read(subject_id))["state"])
