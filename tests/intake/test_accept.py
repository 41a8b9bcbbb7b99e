"""The same request is accepted once, however often and however close together it comes."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest
from structlog.typing import EventDict

from service.intake.domain.create_request import Accepted, CreateRequest
from service.intake.steps.accept import accept_batch, make_batcher
from service.intake.steps.validate import validate
from service.jobs import create_subject
from service.kit.errors import Conflict, Unavailable
from tests.support.api import Api
from tests.support.callbacks import accept_request
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.request_bodies import request_body

AT_ONCE = 50
DAY = 24 * 3600


async def post(api: Api, body: object, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await api.http.post("/v1/subjects", json=body, headers=headers)


async def counts(api: Api) -> list[int]:
    """How many subjects, events, and keys."""
    tables = ("subjects", "events", "idempotency_keys")
    return [
        (await fetch(api.resources, f"SELECT count(*) FROM {table}"))[0]["count"]  # noqa: S608
        for table in tables
    ]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    return body


@pytest.mark.parametrize(
    ("changes", "key"),
    [({}, "one key"), ({"external_task_id": "mine"}, None), ({"external_task_id": "m"}, "both")],
)
async def test_equal_requests_at_once_make_one_subject(
    api: Api, changes: dict[str, Any], key: str | None
) -> None:
    body = request_body(**changes)
    answers = await asyncio.gather(*(post(api, body, key) for _ in range(AT_ONCE)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: AT_ONCE - 1}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert await counts(api) == [1, 1, 1 if key else 0]


async def test_equal_requests_that_do_not_come_together_make_one_subject(
    api: Api, account: str
) -> None:
    """Each in a transaction of its own, as in several web processes."""
    for changes, key in (({}, "one key"), ({"external_task_id": "mine"}, None)):
        body = request_body(**changes)
        accepted = await asyncio.gather(
            *(accept_request(api.resources, account, body, key) for _ in range(AT_ONCE))
        )
        assert Counter(result.created for result in accepted) == {True: 1, False: AT_ONCE - 1}
        assert len({result.subject.id for result in accepted}) == 1


async def test_of_different_requests_at_once_with_one_external_id_one_is_accepted(api: Api) -> None:
    bodies = [request_body(f"Ada {n}", external_task_id="mine") for n in range(10)]
    answers = await asyncio.gather(*(post(api, body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 9}
    assert await counts(api) == [1, 1, 0]


async def test_another_request_with_the_same_external_id_is_a_conflict(api: Api) -> None:
    assert (await post(api, request_body(external_task_id="mine"), "key")).status_code == 202
    other = request_body("Eve", external_task_id="mine")
    problem(await post(api, other), 409, "external_task_id_taken")
    problem(await post(api, request_body("Eve"), "key"), 409, "idempotency_key_reused")
    assert await counts(api) == [1, 1, 1]


async def test_spelling_does_not_make_another_request(api: Api) -> None:
    body = request_body()
    first = await post(api, body, "key")
    again = json.loads(json.dumps(dict(reversed(body.items()))))
    frontal = again["element_image_list"]["frontal_image"]
    again["element_image_list"]["frontal_image"] = f"data:image/jpeg;base64,{frontal}"
    second = await post(api, again, "key")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]


async def test_a_field_that_is_null_does_not_make_another_request(api: Api) -> None:
    body = request_body()
    first = await post(api, body, "key")
    nulls = dict.fromkeys(
        ("element_voice_id", "element_video_list", "callback_url", "external_task_id")
    )
    second = await post(api, nulls | body, "key")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json(), "nor is anything said to be ignored"


async def test_accounts_do_not_share_external_ids_or_idempotency_keys(api: Api) -> None:
    await fetch(
        api.resources, "INSERT INTO accounts (id, name, created_at) VALUES ('o', 'other', now())"
    )
    body = request_body(external_task_id="mine")
    assert (await post(api, body, "key")).status_code == 202
    theirs = await accept_request(api.resources, "o", request_body("Eve"), "key")
    assert theirs.created


async def test_an_idempotency_key_is_forgotten_after_a_day(api: Api, clock: Clock) -> None:
    assert (await post(api, request_body(), "key")).status_code == 202
    clock.advance(DAY - 1)
    problem(await post(api, request_body("Eve"), "key"), 409, "idempotency_key_reused")
    clock.advance(1)
    assert (await post(api, request_body("Eve"), "key")).status_code == 202
    assert await counts(api) == [2, 2, 1]


async def test_a_refused_request_binds_no_key(api: Api) -> None:
    problem(await post(api, request_body(element_name=""), "key"), 422, "invalid")
    assert await counts(api) == [0, 0, 0]
    assert (await post(api, request_body(), "key")).status_code == 202


async def test_a_key_is_bound_by_a_repeated_request_too(api: Api) -> None:
    body = request_body(external_task_id="mine")
    first = await post(api, body)
    again = await post(api, body, "key")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    problem(await post(api, request_body("Eve"), "key"), 409, "idempotency_key_reused")


async def test_a_bad_idempotency_key_is_refused(api: Api) -> None:
    for key in (b"", b"x" * 256, b"a\tb", b"\xe4"):
        raw = {b"idempotency-key": key}
        answer = await api.http.post("/v1/subjects", json=request_body(), headers=raw)
        body = problem(answer, 422, "invalid")
        assert [error["code"] for error in body["errors"]] == ["idempotency_key"]


async def test_every_broken_rule_is_named_at_once(api: Api) -> None:
    body = request_body(element_name="x" * 21, reference_type="audio_refer", colour="red")
    del body["element_description"]
    found = problem(await post(api, body), 422, "invalid")
    pointers = {error["pointer"] for error in found["errors"]}
    assert pointers == {"/element_name", "/reference_type", "/colour", "/element_description"}


async def test_what_is_ignored_is_accepted_with_a_warning(api: Api) -> None:
    answer = await post(api, request_body(element_video_list={"refer_videos": []}))
    assert answer.status_code == 202
    (warning,) = answer.json()["warnings"]
    assert (warning["pointer"], warning["code"]) == ("/element_video_list", "ignored")
    assert (await api.read(answer.json()["id"]))["warnings"] == [warning]


async def test_two_further_images_that_are_the_same_are_accepted_with_a_warning(api: Api) -> None:
    body = request_body(external_task_id="mine")
    images = body["element_image_list"]["refer_images"]
    images.append(images[0])
    first, again = await post(api, body), await post(api, body)
    assert (first.status_code, again.status_code) == (202, 200)
    (warning,) = first.json()["warnings"]
    assert warning["code"] == "duplicate_image"
    assert warning["pointer"] == "/element_image_list/refer_images/1/image_url"
    assert again.json()["warnings"] == [warning]
    many = await api.http.post("/v1/subjects/batch", json={"subjects": [body]})
    (answer,) = many.json()["data"]
    assert answer["subject"]["warnings"] == [warning]
    images[1] = {"image_url": body["element_image_list"]["frontal_image"]}
    problem(await post(api, body), 422, "invalid")


async def by_job(api: Api, account: Any, key: Any, name: str = "Ada") -> dict[str, Any]:  # noqa: ANN401
    """The result of the job that another back end enqueues."""
    return await create_subject(api.resources, {}, account, request_body(name), key)


async def test_a_back_end_of_our_own_names_its_account(api: Api) -> None:
    subject = (await by_job(api, "acme", "key"))["subject"]
    shown = await api.read(subject["id"])
    assert subject == {name: shown[name] for name in shown if name not in {"queue", "why"}}
    refused = await by_job(api, "acme", "key", "Eve")
    assert refused["error"]["code"] == "idempotency_key_reused"


async def test_a_name_that_is_no_accounts_is_not_found(api: Api) -> None:
    for account in ("nobody", "\0", "\ud800", 7, None, ["acme"]):
        assert (await by_job(api, account, "key"))["error"]["code"] == "not_found"


async def test_a_key_that_is_no_text_is_refused(api: Api) -> None:
    for key in (7, b"key", ["key"]):
        refused = await by_job(api, "acme", key)
        assert [error["code"] for error in refused["error"]["errors"]] == ["idempotency_key"]


async def test_requests_of_one_key_that_arrive_together_follow_the_first(
    api: Api, account: str
) -> None:
    """In one transaction; but one whose leader was refused is decided by itself."""
    await api.create(external_task_id="taken")

    def request(key: str | None, **changes: Any) -> CreateRequest:  # noqa: ANN401
        return validate(api.resources.settings, account, request_body(**changes), key)

    eve = {"element_name": "Eve"}
    requests = [
        request("a"),
        request(None),
        request("a", **eve),
        request("a"),
        request("b", external_task_id="taken", **eve),
        request("b", **eve),
        request("b"),
    ]
    results = await accept_batch(api.resources, requests)
    kinds = [type(result) for result in results]
    assert kinds == [Accepted, Accepted, Conflict, Accepted, Conflict, Accepted, Conflict]
    accepted = [result for result in results if isinstance(result, Accepted)]
    assert [result.created for result in accepted] == [True, True, False, True]
    assert accepted[0].subject.id == accepted[2].subject.id
    assert await counts(api) == [4, 4, 2]


async def test_a_failed_later_round_does_not_fail_the_requests_that_are_committed(
    api: Api, account: str
) -> None:
    """The first round is committed: only the requests of the later one are unavailable."""
    await api.create(external_task_id="taken")
    bodies = [("k", {"external_task_id": "taken", "element_name": "Eve"}), (None, {}), ("k", {})]
    requests = [
        validate(api.resources.settings, account, request_body(**changes), key)
        for key, changes in bodies
    ]
    await fetch(
        api.resources,
        "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END $$",
    )
    await fetch(
        api.resources,
        "CREATE TRIGGER away BEFORE INSERT ON idempotency_keys"
        " FOR EACH ROW EXECUTE FUNCTION away()",
    )
    refused, accepted, later = await accept_batch(api.resources, requests)
    assert (type(refused), type(accepted)) == (Conflict, Accepted)
    assert isinstance(later, Unavailable)
    assert await counts(api) == [2, 2, 0]


async def test_a_fault_in_a_later_round_creates_no_subject_of_the_first_again(
    api: Api, account: str, logged: list[EventDict]
) -> None:
    """Nothing but its key would tell that a request was made before; and one has none."""
    await api.create(external_task_id="taken")
    bodies = [("k", {"external_task_id": "taken", "element_name": "Eve"}), (None, {}), ("k", {})]
    requests = [
        validate(api.resources.settings, account, request_body(**changes), key)
        for key, changes in bodies
    ]
    await fetch(
        api.resources,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'a fault of ours'; END $$",
    )
    await fetch(
        api.resources,
        "CREATE TRIGGER fail BEFORE INSERT ON idempotency_keys"
        " FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    async with make_batcher(lambda: api.resources) as batcher:
        results = await asyncio.gather(*(batcher.submit(request) for request in requests))
    assert [type(result) for result in results] == [Conflict, Accepted, Unavailable]
    assert await counts(api) == [2, 2, 0]
    assert [line["action"] for line in logged].count("fault") == 1
    logged.clear()
