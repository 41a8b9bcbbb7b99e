"""A story tells all that was learnt about a subject, and nothing of what it held."""

from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import text

from service.accounts.domain.contents import shows_contents
from service.openapi.routes import SOURCE
from service.subjects.domain.work import Work
from tests.conftest import SECRET_KEY, WEBHOOK_SECRET
from tests.contract.test_secrecy import secrets_in
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.simulator import API_KEY, SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver

NAME, DESCRIPTION = "Ada Lovelace-Byron", "wears a red jacket, and has a secret"
EXTERNAL_ID = "customer-4711-ada"
DELETE_CALLBACKS = text("DELETE FROM callbacks")


async def story_of(api: Api, subject_id: str) -> dict[str, Any]:
    answer = await api.http.get(f"/v1/subjects/{subject_id}/story")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    schema = {"$ref": "#/components/schemas/Story", "components": SOURCE["components"]}
    errors = [error.message for error in jsonschema_rs.iter_errors(schema, told)]
    assert not errors
    return told


def moves(told: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(m["before"], m["after"], m["signal"], m["source"]) for m in told["moves"]]


async def test_a_story_has_signals_moves_events_and_attempts(
    api: Api, subscriber: WebhookReceiver, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"duplicate": 1, "before_answer": 1})
    await api.subscribe(subscriber.url)
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await api.wait_until_finished(subject_id)
    await api.work(Work.DELIVER)
    told = await story_of(api, subject_id)
    assert moves(told)[-1][1:] == ("succeeded", "succeeded", "callback")
    assert moves(told)[0] == ("submitting", "submitted", "submitted", "callback")
    (answer,) = [entry for entry in told["signals"] if entry["source"] == "submit"]
    assert (answer["outcome"], answer["ignored"]) == ("task_accepted", "late")
    callbacks = [entry for entry in told["signals"] if entry["source"] == "callback"]
    assert {entry["times_received"] for entry in callbacks} == {2}
    assert [event["type"] for event in told["events"]][:2] == [
        "subject.queued",
        "subject.submitted",
    ]
    assert not shows_contents(told)  # so a key with operator:read sees all of it
    attempts = [attempt for delivery in told["deliveries"] for attempt in delivery["attempts"]]
    assert {attempt["status"] for attempt in attempts} == {200}


async def test_a_story_is_a_file_by_its_name(api: Api) -> None:
    subject_id = (await api.create())["id"]
    answer = await api.http.get(f"/v1/subjects/{subject_id}/story")
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="story-{subject_id}.json"'
    )
    assert answer.json()["moves"] == []


async def test_no_name_address_or_secret_stands_in_a_story(
    api: Api, subscriber: WebhookReceiver, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"answer": "drop", "lose": ["processing"], "fail": DESCRIPTION})
    made = await api.subscribe(subscriber.url, description=DESCRIPTION)
    subject = await api.create(
        name=NAME,
        element_description=DESCRIPTION,
        external_task_id=EXTERNAL_ID,
        callback_url=f"{subscriber.url}?token=of-the-caller",
    )
    await api.work(Work.SUBMIT)
    clock.advance(5)
    await api.work(Work.RECONCILE)
    await api.wait_until_finished(subject["id"])
    await api.work(Work.DELIVER)
    answer = await api.http.get(f"/v1/subjects/{subject['id']}/story")
    assert answer.json()["subject"]["error"]["code"] == "provider_failed"
    host = subscriber.url.split("/")[2]
    contents = [NAME, DESCRIPTION, EXTERNAL_ID, host, "of-the-caller", "/callbacks/"]
    keys = [made["secret"], api.http.headers["authorization"].removeprefix("Bearer ")]
    secrets = [SECRET_KEY, WEBHOOK_SECRET, API_KEY, *keys]
    assert secrets_in(answer.text, *contents, *secrets) == []


async def test_what_was_pruned_is_told_by_the_events_alone(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": ["submitted", "processing"]})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await api.wait_until_finished(subject_id)
    before = moves(await story_of(api, subject_id))
    async with api.resources.database.transaction() as tx:
        await tx.execute(DELETE_CALLBACKS)
    after = moves(await story_of(api, subject_id))
    assert before[-1][1:] == ("succeeded", "succeeded", "callback")
    assert after == [*before[:-1], (*before[-1][:2], None, None)]


async def test_a_story_is_left_of_what_was_erased(api: Api) -> None:
    subject_id = (await api.create(name=NAME))["id"]
    await api.work(Work.SUBMIT)
    await api.wait_until_finished(subject_id)
    before = await story_of(api, subject_id)
    erased = await api.http.delete(f"/v1/subjects/{subject_id}")
    assert erased.status_code == 200, erased.text
    told = await story_of(api, subject_id)
    assert [move[1] for move in moves(told)] == [move[1] for move in moves(before)]
    assert (told["subject"]["texts"], told["subject"]["media"]) == ([], [])
    assert [event["sha256"] for event in told["events"][:-1]] == [None] * len(before["events"])
    assert told["events"][-1]["type"] == "subject.deleted"
    hashes = [
        {entry["sha256"] for entry in story["signals"] if entry["source"] == "callback"}
        for story in (before, told)
    ]
    assert hashes[0] == hashes[1] != set()


@pytest.mark.parametrize(
    ("path", "status"), [("sub_00000000000000000000000009", 404), ("%00", 404), ("x?a=1", 422)]
)
async def test_what_is_not_there_has_no_story(api: Api, path: str, status: int) -> None:
    subject, _, query = path.partition("?")
    answer = await api.http.get(f"/v1/subjects/{subject}/story?{query}")
    assert answer.status_code == status
