"""DELETE /v1/subjects/{id}: what a finished subject held is gone everywhere; a tombstone stays."""

import base64
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.callbacks import TASK_ID, legacy_callback, url_token
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.erasures import all_rows, erase, erased, succeeded_subject
from tests.support.ingestion import post_callback
from tests.support.operations import dry_run
from tests.support.replays import ONE_RETRY, deliver_all, replay_count, resend
from tests.support.request_bodies import (
    JPEG_BASE64,
    JPEG_IMAGE,
    PNG_BASE64,
    PNG_IMAGE,
    image_list,
    picture,
    request_body,
)
from tests.support.subjects import subject_in_state
from tests.support.webhook_receiver import WebhookReceiver

NAME, DESCRIPTION, ANSWER = "Perpetua Quill", "with a scar on her cheek", b"thanks for Perpetua"
ELEMENT_URL = "https://cdn.example.com/made-of-her.png"
UNFINISHED = sorted(set(State) - {State.SUCCEEDED, State.FAILED, State.CANCELED})


async def told_subject(api: Api, subscriber: WebhookReceiver) -> str:
    """A succeeded subject of which a subscriber and its callback_url were told, and answered."""
    subscriber.answer = ANSWER
    await api.subscribe(subscriber.url)
    created = await api.create(
        name=NAME,
        element_description=DESCRIPTION,
        callback_url=f"{subscriber.url}/her-private-path?token=hers",
        external_task_id="hers",
        tag_list=[{"tag_id": "o_105"}],
    )
    subject_id: str = created["id"]
    subscriber.answers += [503]
    submitted = StatusUpdate(Signal.SUBMITTED, provider_task_id=TASK_ID)
    await transition(api.resources, subject_id, submitted)
    element = {"element_id": 7, "element_name": NAME, "frontal_image": ELEMENT_URL}
    body = legacy_callback(
        subject_id,
        task_result={"elements": [element]},
        final_unit_deduction="1.5",
    )
    assert await post_callback(api, subject_id, body) == "applied"
    await api.work(Work.DELIVER)
    return subject_id


async def test_nothing_that_a_subject_held_is_in_any_row_of_any_table(
    api: Api, subscriber: WebhookReceiver
) -> None:
    subject_id = await told_subject(api, subscriber)
    contents = [NAME, DESCRIPTION, ANSWER.decode(), ELEMENT_URL, "her-private-path", "o_105"]
    images = [JPEG_IMAGE.hex(), PNG_IMAGE.hex()]
    before = await all_rows(api.resources)
    assert [text for text in contents + images if text not in before] == []
    await erased(api, subject_id)
    after = await all_rows(api.resources)
    assert [text for text in contents + images if text in after] == []
    assert await api.violations() == []


async def test_a_tombstone_has_ids_state_and_times(api: Api, subscriber: WebhookReceiver) -> None:
    subject_id = await told_subject(api, subscriber)
    before = await api.read(subject_id)
    answer = await erased(api, subject_id)
    erasure = answer.pop("erasure")
    assert (erasure["state"], erasure["element_id"]) == ("not_requested", "7")
    assert answer == await api.read(subject_id) == await erased_again(api, subject_id)
    assert answer.pop("erased_at")
    wiped: dict[str, object] = {"element_name": None, "element_description": None, "tag_list": []}
    left = {"element_id": "7", "final_unit_deduction": "1.5"}
    assert answer == before | wiped | {"subject": left, "version": before["version"] + 1}
    listed = (await api.http.get("/v1/subjects")).json()["data"]
    assert [subject["id"] for subject in listed] == [subject_id]


async def erased_again(api: Api, subject_id: str) -> dict[str, object]:
    answer = await erased(api, subject_id)
    return {name: value for name, value in answer.items() if name != "erasure"}


@pytest.mark.parametrize("state", UNFINISHED)
async def test_an_unfinished_subject_is_not_erased(api: Api, state: State) -> None:
    subject_id = await subject_in_state(api, state)
    refused = await erase(api, subject_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_finished")
    assert refused.json()["state"] == state
    assert (await api.read(subject_id))["element_name"] == "Ada"


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
async def test_of_an_error_only_the_code_stays(api: Api, state: State) -> None:
    subject_id = await subject_in_state(api, state)
    tombstone = await erased(api, subject_id)
    assert tombstone["state"] == state
    error = {"code": "provider_refused", "message": "Erased."} if state is State.FAILED else None
    assert tombstone["error"] == error
    assert await api.violations() == []


async def test_another_accounts_subject_is_not_found(api: Api) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    key = await api_keys.create(api.resources, "other", ["subjects:write"])
    answer = await api.http.delete(
        f"/v1/subjects/{subject_id}", headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 404
    assert (await erase(api, "sub_none")).status_code == 404
    assert "erased_at" not in await api.read(subject_id)


async def test_an_erasure_is_one_line_of_ids_and_moment(api: Api, logged: list[EventDict]) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    erased_at = (await erased(api, subject_id))["erased_at"]
    await erased(api, subject_id)
    (line,) = [line for line in logged if line.get("action") == "subject_erased"]
    (account,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'acme'")
    assert {name: line[name] for name in ("subject", "account", "at")} == {
        "subject": subject_id,
        "account": account["id"],
        "at": erased_at,
    }


class TestOperator:
    """An operator erases a subject of an account."""

    @pytest.fixture
    def scopes(self) -> Sequence[str]:
        return SCOPES

    async def test_is_in_the_action_log_once(self, api: Api) -> None:
        subject_id = await subject_in_state(api, State.CANCELED)
        assert (await erased(api, subject_id))["account"] == "acme"
        await erased(api, subject_id)
        entries = (await api.http.get("/v1/actions?action=subject_erased")).json()["data"]
        assert [entry["object_id"] for entry in entries] == [subject_id]


async def test_the_same_request_gets_the_tombstone_and_another_is_refused(api: Api) -> None:
    body = request_body(external_task_id="mine")
    headers = {"idempotency-key": "once"}
    created = await api.http.post("/v1/subjects", json=body, headers=headers)
    subject_id = created.json()["id"]
    await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    tombstone = await erased_again(api, subject_id)
    for sent in ({}, headers):
        answer = await api.http.post("/v1/subjects", json=body, headers=sent)
        assert (answer.status_code, answer.json()) == (200, tombstone)
        other = body | {"element_name": "Eve"}
        refused = await api.http.post("/v1/subjects", json=other, headers=sent)
        assert refused.status_code == 409


async def test_pending_deliveries_are_canceled_and_the_erasure_is_told_in_their_place(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    with_tag = await api.subscribe(subscriber.url, tags=["o_102"])
    await api.subscribe(subscriber.url, tags=["o_107"])
    await api.subscribe(subscriber.url, event_types=["subject.deleted"])
    subscriber.answers += [500]
    subject_id = await succeeded_subject(api)
    await api.work(Work.DELIVER)  # the first fails, and the two others wait behind it
    tombstone = await erased_again(api, subject_id)
    del tombstone["kept_until"]  # no event has it
    subscriber.requests.clear()
    clock.advance(86_400)
    await api.work(Work.DELIVER)
    bodies = [json.loads(body) for _, body in subscriber.requests]
    assert [body["type"] for body in bodies] == ["subject.deleted"] * 2
    assert bodies[0]["data"] == tombstone | {"erased": True, "sequence": 4}
    assert bodies[0]["timestamp"] == tombstone["erased_at"]
    path = f"/v1/subscribers/{with_tag['id']}/deliveries"
    rows = (await api.http.get(path)).json()["data"]
    assert sorted(row["state"] for row in rows) == ["canceled"] * 3 + ["delivered"]
    assert await api.violations() == []


async def test_what_was_erased_is_neither_resent_nor_replayed(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    subject_id = await succeeded_subject(api)
    await api.work(Work.DELIVER)
    await erased(api, subject_id)
    await api.work(Work.DELIVER)
    clock.advance(1)
    path = f"/v1/subscribers/{subscription['id']}/deliveries"
    first = (await api.http.get(path)).json()["data"][-1]
    refused = await resend(api, first["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "event_erased")
    assert await replay_count(api, subscription, "all", dry_run=True) == 1
    late = await api.subscribe(subscriber.url)
    assert await replay_count(api, late, "missing") == 1
    subscriber.requests.clear()
    await api.work()
    (request,) = subscriber.requests
    assert json.loads(request[1])["type"] == "subject.deleted"


async def test_a_repeated_callback_is_a_duplicate_and_a_later_one_brings_nothing_back(
    api: Api,
) -> None:
    subject_id = await succeeded_subject(api, TASK_ID)
    await erased(api, subject_id)
    repeated = legacy_callback(subject_id)
    assert await post_callback(api, subject_id, repeated, f"msg_{TASK_ID}") == "repeated"
    later = legacy_callback(subject_id, task_status_msg="Perpetua again")
    assert await post_callback(api, subject_id, later, "msg_later") == "repeated"
    assert await post_callback(api, subject_id, later, "msg_later") == "repeated"
    # Another body under a message id that is known, and one under another subject's address.
    assert await post_callback(api, subject_id, later, f"msg_{TASK_ID}") == "repeated"
    other = (await api.create())["id"]
    assert await post_callback(api, other, later, "msg_other") == "mismatch"
    refused = await api.http.post(
        f"/callbacks/{url_token(api.resources, subject_id)}", content=b'{"broken": "Perpetua'
    )
    assert refused.status_code == 401
    rows = await fetch(api.resources, "SELECT * FROM callbacks")
    assert sorted(row["times_received"] for row in rows) == [1, 1, 1, 2, 2]
    assert {(row["body"], row["headers"], row["size"]) for row in rows} == {(b"", "{}", 0)}
    assert "Perpetua" not in await all_rows(api.resources)
    assert await api.violations() == []


async def test_callbacks_that_named_it_elsewhere_are_wiped_and_those_of_others_stay(
    api: Api,
) -> None:
    other = (await api.create())["id"]
    early = legacy_callback(None, "processing", task_status_msg="Perpetua")
    assert await post_callback(api, None, early, "msg_early") == "unknown"
    subject_id = await succeeded_subject(api, TASK_ID)
    theirs = legacy_callback(None, "processing", task="7", task_status_msg="Eve")
    assert await post_callback(api, None, theirs, "msg_theirs") == "unknown"
    body = legacy_callback(subject_id, "processing", task_status_msg="Perpetua")
    assert await post_callback(api, other, body, "msg_other") == "mismatch"
    await erased(api, subject_id)
    rows = await all_rows(api.resources)
    assert ("Perpetua" in rows, "Eve" in rows) == (False, True)


async def test_an_image_that_another_unfinished_subject_needs_stays(api: Api) -> None:
    images = [image_list(JPEG_BASE64, PNG_BASE64), image_list(PNG_BASE64, other_image())]
    _, kept = [await api.create(element_image_list=images[0]) for _ in range(2)]
    ended = (await api.create(element_image_list=images[1]))["id"]
    await api.http.post(f"/v1/subjects/{ended}/cancel")
    await erased(api, ended)
    media = await fetch(api.resources, "SELECT bytes FROM media")
    assert {row["bytes"] for row in media} == {JPEG_IMAGE, PNG_IMAGE}
    await api.work(Work.SUBMIT)
    assert (await api.read(kept["id"]))["state"] in {"submitted", "processing", "succeeded"}


def other_image() -> str:
    return base64.b64encode(picture(shade=77)).decode()


async def test_what_was_erased_is_counted_apart_by_a_bulk_resend(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    subscriber.answers += [500] * 8
    ended = [await subject_in_state(api, State.CANCELED) for _ in range(2)]
    await deliver_all(api, clock)  # of each subject two events, and two attempts at each
    await erased(api, ended[0])
    found = await dry_run(api, "resend", {"state": "dead"})
    assert (found["count"], found["cannot"]) == (2, {"event_erased": 2})


async def test_what_a_subject_cost_stays(api: Api, subscriber: WebhookReceiver) -> None:
    subject_id = await told_subject(api, subscriber)
    today = api.resources.clock().date()
    path = f"/v1/usage?from={today}&to={today + timedelta(days=1)}"
    before = await api.http.get(path)
    assert '"units":"1.5"' in before.text
    await erased(api, subject_id)
    assert (await api.http.get(path)).json() == before.json()


async def test_the_providers_clients_read_a_tombstone(api: Api) -> None:
    subject_id = await succeeded_subject(api)
    await erased(api, subject_id)
    answer = await api.http.get(f"/v1/general/advanced-custom-elements/{subject_id}")
    assert answer.status_code == 200
    (element,) = answer.json()["data"]["task_result"]["elements"]
    assert (element["element_name"], element["element_description"]) == ("", "")


async def test_a_tombstones_events_and_story_have_no_contents(
    api: Api, subscriber: WebhookReceiver
) -> None:
    subject_id = await told_subject(api, subscriber)
    await erased(api, subject_id)
    story = await api.http.get(f"/v1/subjects/{subject_id}/story")
    assert story.status_code == 200, story.text
    assert story.json()["subject"]["texts"] == []
    feeds = [await api.http.get(f"/v1{path}/events") for path in ("", f"/subjects/{subject_id}")]
    for feed in feeds:
        (event,) = feed.json()["data"]
        assert (event["type"], event["data"]["sequence"]) == ("subject.deleted", 4)
