"""/v1/subjects: what an accepted request looks like, and when it can be taken back."""

import asyncio
import re
from typing import Any

from sqlalchemy import delete

from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import State
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.database import wait_until_blocked
from tests.support.request_bodies import request_body
from tests.support.subjects import ERROR, RESULT, subject_in_state

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIRST = {"position": 1, "age_seconds": 0}


async def test_an_accepted_request_is_shown_where_its_location_says(api: Api) -> None:
    answer = await api.http.post("/v1/subjects", json=request_body(external_task_id="mine"))
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/v1/subjects/{body['id']}"
    read = await api.http.get(answer.headers["location"])
    shown = read.json()
    assert shown.pop("why")["code"] == "no_worker"
    assert (read.status_code, shown) == (200, body | {"queue": FIRST})


async def test_a_new_subject_is_shown_with_all_members(api: Api) -> None:
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
        "usable_with": None,
        "error": None,
        "finished_at": None,
    }


async def test_an_ended_subject_shows_what_was_made_or_what_went_wrong(api: Api) -> None:
    subject_id = await subject_in_state(api, State.SUCCEEDED)
    made = await api.read(subject_id)
    assert (made["subject"], made["error"], made["version"]) == (RESULT, None, 2)
    assert TIME.fullmatch(made["finished_at"])


async def test_a_refused_subject_shows_the_providers_code(api: Api) -> None:
    failed = await api.read(await subject_in_state(api, State.FAILED))
    assert (failed["subject"], failed["error"]) == (None, ERROR)


async def test_only_what_is_queued_can_be_canceled(api: Api) -> None:
    for state in State:
        subject_id = await subject_in_state(api, state)
        before = await api.read(subject_id)
        answer = await api.http.post(f"/v1/subjects/{subject_id}/cancel")
        after: dict[str, Any] = await api.read(subject_id)
        if state in {State.QUEUED, State.CANCELED}:
            assert (answer.status_code, answer.json()) == (200, after)
            assert (after["state"], after["version"]) == ("canceled", 2)
            assert await api.event_types(subject_id) == ["queued", "canceled"]
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            body = answer.json()
            assert (answer.status_code, body["code"], body["state"]) == (409, "conflict", state)
            assert after == before
    assert await api.violations() == []


async def test_of_many_who_cancel_at_once_each_is_answered_and_one_did_it(api: Api) -> None:
    subject_id = (await api.create())["id"]
    path = f"/v1/subjects/{subject_id}/cancel"
    answers = await asyncio.gather(*(api.http.post(path) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert await api.event_types(subject_id) == ["queued", "canceled"]


async def test_what_is_canceled_while_it_is_claimed_is_one_or_the_other(api: Api) -> None:
    made = [(await api.create())["id"] for _ in range(10)]
    canceling = [api.http.post(f"/v1/subjects/{id_}/cancel") for id_ in made]
    claimed, answers = await asyncio.gather(
        submit.claim(api.resources, 10), asyncio.gather(*canceling)
    )
    with_us = {claimed_subject.subject.id for claimed_subject in claimed}
    for subject_id, answer in zip(made, answers, strict=True):
        if subject_id in with_us:
            assert (answer.status_code, answer.json()["state"]) == (409, "submitting")
        else:
            assert (answer.status_code, answer.json()["state"]) == (200, "canceled")


async def test_a_subject_that_vanishes_while_it_is_canceled_is_not_found(api: Api) -> None:
    subject_id = (await api.create())["id"]
    async with api.resources.database.transaction() as tx:
        await tx.execute(delete(subjects).where(subjects.c.id == subject_id))
        canceling = asyncio.create_task(api.http.post(f"/v1/subjects/{subject_id}/cancel"))
        await wait_until_blocked(api.resources)
    assert (await canceling).status_code == 404


async def test_a_name_that_is_no_subjects_is_not_found(api: Api) -> None:
    for name in ("sub_none", "%00", "sub%20x", "%ff", "x" * 5000):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
            answer = await api.http.request(method, f"/v1/subjects/{name}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), name
