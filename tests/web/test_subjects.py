"""/v1/subjects: what an accepted request looks like, and when it can be taken back."""

import asyncio
import re
from typing import Any

from sqlalchemy import delete

from service.core.lifecycle import Signal, State
from service.core.subjects import News
from service.steps import submit
from service.steps.advance import advance
from service.store.tables import subjects
from tests.calling import blocked
from tests.conftest import Api
from tests.make import a_request

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
RESULT = {"element_id": "7"}
ERROR = {"code": "provider_refused", "message": "no", "provider_code": 1301}

# How a queued subject gets into each state: the signals it is given.
WAYS: dict[State, list[News]] = {
    State.QUEUED: [],
    State.SUBMITTING: [],
    State.UNCONFIRMED: [News(Signal.LOST)],
    State.SUBMITTED: [News(Signal.SUBMITTED, provider_task_id="1")],
    State.PROCESSING: [News(Signal.PROCESSING, provider_task_id="2")],
    State.SUCCEEDED: [News(Signal.SUCCEEDED, provider_task_id="3", result=RESULT)],
    State.FAILED: [News(Signal.REFUSED, error=ERROR)],
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
        await advance(api.resources, subject_id, news)
    assert (await api.read(subject_id))["state"] == state
    return subject_id


async def test_an_accepted_request_is_shown_where_its_location_says(api: Api) -> None:
    answer = await api.http.post("/v1/subjects", json=a_request(external_task_id="mine"))
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/v1/subjects/{body['id']}"
    read = await api.http.get(answer.headers["location"])
    assert (read.status_code, read.json()) == (200, body)


async def test_a_new_subject_is_shown_as_the_contract_says(api: Api) -> None:
    body = await api.create(external_task_id="mine")
    moments = [body.pop(name) for name in ("created_at", "updated_at")]
    assert all(TIME.fullmatch(moment) for moment in moments)
    assert body.pop("id").startswith("sub_")
    assert body == {
        "external_task_id": "mine",
        "provider_task_id": None,
        "state": "queued",
        "version": 1,
        "reference_type": "image_refer",
        "element_name": "Ada",
        "element_description": "somebody in a test",
        "element_voice_id": None,
        "tag_list": [{"tag_id": "o_102"}],
        "subject": None,
        "error": None,
        "finished_at": None,
    }


async def test_an_ended_subject_shows_what_was_made_or_what_went_wrong(api: Api) -> None:
    subject_id = await reach(api, State.SUCCEEDED)
    made = await api.read(subject_id)
    assert (made["subject"], made["error"], made["version"]) == (RESULT, None, 2)
    assert TIME.fullmatch(made["finished_at"])


async def test_a_refused_subject_shows_the_providers_code(api: Api) -> None:
    failed = await api.read(await reach(api, State.FAILED))
    assert (failed["subject"], failed["error"]) == (None, ERROR)


async def test_only_what_is_queued_can_be_canceled(api: Api) -> None:
    for state in State:
        subject_id = await reach(api, state)
        before = await api.read(subject_id)
        answer = await api.http.post(f"/v1/subjects/{subject_id}/cancel")
        after: dict[str, Any] = await api.read(subject_id)
        if state in {State.QUEUED, State.CANCELED}:
            assert (answer.status_code, answer.json()) == (200, after)
            assert (after["state"], after["version"]) == ("canceled", 2)
            assert await api.types(subject_id) == ["queued", "canceled"]
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            body = answer.json()
            assert (answer.status_code, body["code"], body["state"]) == (409, "conflict", state)
            assert after == before
    assert await api.violations() == []


async def test_a_subject_that_vanishes_while_it_is_canceled_is_not_found(api: Api) -> None:
    subject_id = (await api.create())["id"]
    async with api.resources.database.transaction() as tx:
        await tx.execute(delete(subjects).where(subjects.c.id == subject_id))
        canceling = asyncio.create_task(api.http.post(f"/v1/subjects/{subject_id}/cancel"))
        await blocked(api.resources)
    assert (await canceling).status_code == 404


async def test_a_name_that_is_no_subjects_is_not_found(api: Api) -> None:
    for name in ("sub_none", "%00", "sub%20x", "%ff", "x" * 5000):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
            answer = await api.http.request(method, f"/v1/subjects/{name}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), name
