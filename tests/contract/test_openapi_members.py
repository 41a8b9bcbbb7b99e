"""Each member that the document says an answer may have is one that some answer has."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import jsonschema_rs
import pytest

from service.accounts.domain.scopes import SCOPES
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from service.submission.steps import submit
from tests.contract.test_openapi import (
    CALLBACKS,
    CALLS,
    DOCUMENT,
    examples,
    finish_what_is_erased,
    found,
    make,
)
from tests.support.api import Api
from tests.support.callbacks import ELEMENT_ID, legacy_callback, signed_headers
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.subjects import subject_in_state
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

Schema = dict[str, Any]
UNAVAILABLE = """
    UPDATE erasures SET error = '{
        "code": "provider_unavailable", "message": "maintenance", "provider_code": 5001
    }' WHERE state = 'pending'
"""
VOICE = {
    "voice_id": "v-1",
    "voice_name": "low",
    "trial_url": "https://x.example/v",
    "owned_by": "u",
}
MADE = {
    "element_id": int(ELEMENT_ID),
    "element_name": "Ada",
    "element_description": "as made",
    "reference_type": "image_refer",
    "tag_list": [{"id": "o_102", "name": "person", "description": "People"}],
    "owned_by": "u",
    "element_image_list": {
        "frontal_image": "https://x.example/f.png",
        "refer_images": [{"image_url": "https://x.example/r.png"}],
    },
    "element_video_list": {"refer_videos": [{"video_url": "https://x.example/v.mp4"}]},
    "element_voice_info": VOICE,
}
TASK: dict[str, Any] = {
    "task_result": {"elements": [MADE]},
    "final_unit_deduction": "1.5",
    "created_at": 1795348800000,
    "updated_at": 1795348803000,
}
NO_TEXT = b"\xff"
GONE = 410  # disables a subscriber, of which there is an event
# Of entries of a batch: tests/accounts/test_account_limits.py, tests/intake/test_held_intake.py.
REFUSALS = [{"$ref": f"#/components/schemas/{name}"} for name in ("TooMany", "IntakeHeld")]


@pytest.fixture
def scopes() -> Sequence[str]:
    """An operator's too: answers to them name the account."""
    return SCOPES


def named(schema: Schema, place: str) -> tuple[Schema, str]:
    """A schema, and its place: its name, if it is among the components."""
    return (
        (found(schema), schema["$ref"].rpartition("/")[2]) if "$ref" in schema else (schema, place)
    )


def choices(schema: Schema) -> list[Schema]:
    return [*schema.get("oneOf", ()), *schema.get("anyOf", ())]


def declared(schema: Schema, place: str) -> Iterator[str]:
    """The places of all members that a value may have."""
    schema, place = named(schema, place)
    for choice in choices(schema):
        yield from declared(choice, place)
    if "items" in schema:
        yield from declared(schema["items"], place)
    for name, member in schema.get("properties", {}).items():
        yield f"{place}.{name}"
        yield from declared(member, f"{place}.{name}")


def shown(value: object, schema: Schema, place: str) -> Iterator[str]:
    """The places of the members that a value has."""
    schema, place = named(schema, place)
    for choice in choices(schema):
        whole = {"components": DOCUMENT["components"], **choice}
        if jsonschema_rs.is_valid(whole, value):
            yield from shown(value, choice, place)
    if isinstance(value, list) and "items" in schema:
        for entry in value:
            yield from shown(entry, schema["items"], place)
    if isinstance(value, dict):
        for name in value.keys() & schema.get("properties", {}).keys():
            yield f"{place}.{name}"
            yield from shown(value[name], schema["properties"][name], f"{place}.{name}")


def schemas_of(call: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas of what a call answers when all is well, by the status."""
    for status, answer in call["responses"].items():
        media = found(answer).get("content", {}).get("application/json")
        if status.startswith("2") and media is not None:
            yield status, media["schema"]


def members(answer: httpx.Response, call: Schema) -> set[str]:
    """The places of the members that an answer has."""
    schema = dict(schemas_of(call)).get(str(answer.status_code))
    if schema is None or not answer.headers["content-type"].startswith("application/json"):
        return set()
    return set(shown(answer.json(), schema, call["operationId"]))


async def called_back(api: Api, subject_id: str) -> None:
    """A subject that the provider has made, with all that it may say of it."""
    body = legacy_callback(subject_id, **TASK)
    headers = signed_headers(body, api.resources.clock(), f"msg_{subject_id}")
    assert (await api.http.post("/callbacks", content=body, headers=headers)).is_success


async def several(api: Api, subscriber: WebhookReceiver) -> dict[str, str]:
    """Something of each kind, by its name in a path; `task_id` names a subject that has all that a
    subject may have."""
    await api.http.post("/callbacks", content=NO_TEXT)
    await subject_in_state(api, State.FAILED)
    made = await api.create(element_video_list={"refer_videos": []})
    await submit.claim(api.resources, 1)
    await called_back(api, made["id"])
    async with webhook_receiver(GONE) as gone:
        await api.subscribe(gone.url)
        things = await make(api, subscriber)
        await api.work(Work.DELIVER)
    signing_twice = await api.subscribe(subscriber.url, signatures=["v1", "v1a"])
    (no_text,) = await fetch(api.resources, "SELECT id FROM callbacks WHERE body = $1", NO_TEXT)
    return things | {
        "task_id": made["id"],
        "subscriber_id": signing_twice["id"],
        "callback_id": no_text["id"],
    }


async def waiting(
    api: Api, subscriber: WebhookReceiver
) -> AsyncIterator[tuple[str, httpx.Response]]:
    """What waits and says why, each with the operation that shows it."""
    made = await api.subscribe(subscriber.url)
    path = f"/v1/subscribers/{made['id']}"
    await api.create()
    yield "changeSubscriber", await api.http.patch(path, json={"state": "paused"})
    (delivery,) = (await api.http.get(f"{path}/deliveries")).json()["data"]
    yield "readDelivery", await api.http.get(f"/v1/deliveries/{delivery['id']}")


async def erased(
    api: Api, _subscriber: WebhookReceiver
) -> AsyncIterator[tuple[str, httpx.Response]]:
    """What shows an erased subject, each with the operation that does."""
    path = f"/v1/subjects/{await subject_in_state(api, State.CANCELED)}"
    yield "eraseSubject", await api.http.delete(path)
    yield "readSubject", await api.http.get(path)
    yield "readEventsOfSubject", await api.http.get(f"{path}/events")
    made = await subject_in_state(api, State.SUCCEEDED)
    path = f"/v1/subjects/{made}"
    yield "eraseSubject", await api.http.delete(path, params={"provider": "true"})
    await fetch(api.resources, UNAVAILABLE)
    yield "readSubject", await api.http.get(path)
    await api.work(Work.ERASE)
    yield "readSubject", await api.http.get(path)


async def answers(
    api: Api, subscriber: WebhookReceiver
) -> AsyncIterator[tuple[httpx.Response, Schema]]:
    """What each example is answered, and each call that reads without any parameter."""
    things = await several(api, subscriber)
    for number, example in enumerate(examples()):
        request = example.request(api, things)
        if example.path in CALLBACKS:
            now = api.resources.clock()
            request.headers.update(signed_headers(request.content, now, f"msg_{number}"))
        await finish_what_is_erased(api, example, things)
        yield await api.http.send(request), example.call
        if example.method == "GET":
            path = example.path.format(**things | {"subject_id": things["task_id"]})
            yield await api.http.get(path), example.call
        if example.method == "DELETE":
            things = await several(api, subscriber)
    by_operation = {call["operationId"]: call for _, _, call in CALLS}
    for shown_by in (waiting, erased):
        async for name, answer in shown_by(api, subscriber):
            yield answer, by_operation[name]
    bodies = [
        request_body("Ada", external_task_id="x"),
        request_body("Eve", external_task_id="x"),
        {},
    ]
    yield (
        await api.http.post("/v1/subjects/batch", json={"subjects": bodies}),
        by_operation["createSubjects"],
    )


async def test_each_member_of_an_answer_is_shown_by_some_answer(
    api: Api, subscriber: WebhookReceiver
) -> None:
    observed: set[str] = set()
    async for answer, call in answers(api, subscriber):
        observed |= members(answer, call)
    described = {
        place
        for _, _, call in CALLS
        for _, schema in schemas_of(call)
        for place in declared(schema, call["operationId"])
    }
    elsewhere = {place for refusal in REFUSALS for place in declared(refusal, "")}
    elsewhere.add("ReplayCount.count_exact")  # tests/operations/test_replay_operations.py
    # Of stories, with another that has all that a story may have: tests/story/test_story.py.
    rest = {place for place in described - observed if not place.startswith("Story")}
    assert rest == elsewhere
