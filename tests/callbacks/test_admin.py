"""Operators list and read the callbacks of every account, and see no secret."""

import base64
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.accounts.steps import api_keys
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import webhook_secrets
from service.callbacks.store.archive import COUNTED
from service.kit.crypto.key_formats import format_whsec
from tests.conftest import SECRET_KEY, WEBHOOK_SECRET
from tests.contract.test_secrecy import plain, secrets_in
from tests.support.api import Api
from tests.support.callbacks import TASK_ID, legacy_callback, signed_headers, url_token
from tests.support.clock import Clock
from tests.support.database import fetch

OTHER_SECRET = format_whsec(b"not the secret that is in force")
SHARED_SECRET = "the-secret-of-a-relay"
UNKNOWN_ID = "cbk_00000000000000000000000000"


@pytest.fixture
def scopes() -> Sequence[str]:
    """An operator's, beside those of its account."""
    return SCOPES


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings with a source that sends its secret along, in a header that is kept of all."""
    sources = '{"relay": {"scheme": "shared-secret", "header": "x-relay-secret"}}'
    return environ | {"CALLSHEET_CALLBACK_SOURCES": sources}


async def post(
    api: Api, path: str, body: bytes, message_id: str = "msg_1", secret: str = WEBHOOK_SECRET
) -> httpx.Response:
    headers = signed_headers(body, api.resources.clock(), message_id, secret)
    return await api.http.post(f"/callbacks{path}", content=body, headers=headers)


async def page(api: Api, **params: str) -> dict[str, Any]:
    answer = await api.http.get("/v1/callbacks", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"data", "next_cursor", "counts"}
    return body


async def verdicts(api: Api, **params: str) -> list[str]:
    return [callback["verdict"] for callback in (await page(api, **params))["data"]]


async def four_callbacks(api: Api, clock: Clock) -> str:
    """One applied, one repeated, one rejected, one unknown, in this order; the subject's id."""
    subject_id: str = (await api.create())["id"]
    path, body = (
        f"/{url_token(api.resources, subject_id)}",
        legacy_callback(subject_id, updated_at=1000),
    )
    await post(api, path, body)
    clock.advance(1)
    await post(api, path, body, "msg_2")
    clock.advance(1)
    await post(api, path, body, "msg_3", OTHER_SECRET)
    clock.advance(1)
    await post(api, "", legacy_callback(None, task="7"), "msg_4")
    return subject_id


async def test_callbacks_are_listed_the_newest_first_with_what_became_of_them(
    api: Api, clock: Clock
) -> None:
    subject_id = await four_callbacks(api, clock)
    read = await page(api)
    assert [callback["verdict"] for callback in read["data"]] == [
        *("unknown", "rejected", "repeated", "applied")
    ]
    assert read["counts"] == dict.fromkeys(COUNTED, 0) | dict.fromkeys(
        ("unknown", "rejected", "repeated"), 1
    )
    (row,) = await fetch(api.resources, "SELECT id FROM callbacks WHERE verdict = 'applied'")
    assert read["data"][-1] == {
        "id": row["id"],
        "account": "acme",
        "source": "provider",
        "verdict": "applied",
        "reason": None,
        "trust": "signed",
        "subject_id": subject_id,
        "provider_task_id": TASK_ID,
        "status": "succeed",
        "provider_time": "1970-01-01T00:00:01.000Z",
        "seen": 1,
        "size": len(legacy_callback(subject_id, updated_at=1000)),
        "received_at": (await api.read(subject_id))["finished_at"],
    }


async def test_a_list_is_narrowed_by_each_filter_and_by_all(api: Api, clock: Clock) -> None:
    subject_id = await four_callbacks(api, clock)
    assert await verdicts(api, verdict="rejected") == ["rejected"]
    assert await verdicts(api, verdict="applied") == ["applied"]
    assert await verdicts(api, subject=subject_id) == ["rejected", "repeated", "applied"]
    assert await verdicts(api, subject=subject_id, verdict="repeated") == ["repeated"]
    assert await verdicts(api, source="provider", limit="1") == ["unknown"]
    assert await verdicts(api, source="relay") == []
    assert await verdicts(api, subject="sub_nobody", source="provider", verdict="late") == []


async def test_pages_join(api: Api, clock: Clock) -> None:
    await four_callbacks(api, clock)
    verdicts_read: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        read = await page(api, limit="3", **cursor)
        verdicts_read += [callback["verdict"] for callback in read["data"]]
        if read["next_cursor"] is None:
            break
        cursor = {"cursor": read["next_cursor"]}
    assert verdicts_read == ["unknown", "rejected", "repeated", "applied"]


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("verdict=wrong&colour=red", {"/verdict", "/colour"}),
        ("verdict=", {"/verdict"}),
        ("verdict='--", {"/verdict"}),
        ("limit=201", {"/limit"}),
        ("subject=%00&source=%00&cursor=%00", {"/subject", "/source", "/cursor"}),
    ],
)
async def test_a_filter_that_is_wrong_or_unknown_is_named(
    api: Api, query: str, pointers: set[str]
) -> None:
    answer = await api.http.get(f"/v1/callbacks?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert {error["pointer"] for error in answer.json()["errors"]} == pointers


async def test_the_verdicts_are_those_that_the_table_allows(api: Api) -> None:
    (row,) = await fetch(
        api.resources,
        "SELECT pg_get_constraintdef(oid) AS rule FROM pg_constraint"
        " WHERE conrelid = 'callbacks'::regclass AND conname LIKE '%verdict%' AND contype = 'c'",
    )
    assert sorted(row["rule"].split("'")[1::2]) == sorted(Verdict)


async def test_one_callback_is_shown_with_its_headers_and_its_body(api: Api, clock: Clock) -> None:
    subject_id = await four_callbacks(api, clock)
    (listed,) = (await page(api, verdict="rejected"))["data"]
    answer = await api.http.get(f"/v1/callbacks/{listed['id']}")
    assert answer.status_code == 200
    whole = answer.json()
    assert whole.pop("body") == legacy_callback(subject_id, updated_at=1000).decode()
    assert whole.pop("erased") is False
    headers = whole.pop("headers")
    assert whole == listed
    assert headers["webhook-id"] == "msg_3"
    assert headers["webhook-signature"] == "(kept)"
    assert headers["webhook-timestamp"].isdigit()


async def test_a_body_that_is_no_text_is_shown_as_bytes_too(api: Api) -> None:
    body = b'\xff{"task\0": "\xf0\x9f\x8e\xac"'
    assert (await post(api, "", body)).status_code == 400
    (listed,) = (await page(api))["data"]
    whole = (await api.http.get(f"/v1/callbacks/{listed['id']}")).json()
    assert whole["body"] == '�{"task\0": "🎬"'
    assert base64.b64decode(whole["body_base64"]) == body


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    for name in (UNKNOWN_ID, "x", "%00", "%F0%9F%8E%AC"):
        for method, path in (("GET", ""), ("POST", "/reverify")):
            answer = await api.http.request(method, f"/v1/callbacks/{name}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_only_what_was_rejected_or_unknown_is_verified_again(api: Api, clock: Clock) -> None:
    await four_callbacks(api, clock)
    answered = {}
    for callback in (await page(api))["data"]:
        answer = await api.http.post(f"/v1/callbacks/{callback['id']}/reverify")
        answered[callback["verdict"]] = (answer.status_code, answer.json().get("code"))
    assert answered == {
        "applied": (409, "not_rejected"),
        "repeated": (409, "not_rejected"),
        "rejected": (409, "still_rejected"),
        "unknown": (200, None),
    }


async def test_an_operator_of_one_account_sees_the_callbacks_of_all(api: Api, clock: Clock) -> None:
    subject_id = await four_callbacks(api, clock)
    key = await api_keys.create(api.resources, "other", ["operator"])
    key_without_scope = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    (listed,) = (await page(api, verdict="applied"))["data"]
    calls = [("GET", ""), ("GET", f"/{listed['id']}"), ("POST", f"/{listed['id']}/reverify")]
    for method, path in calls:
        for api_key, expected in ((key, {200, 409}), (key_without_scope, {403})):
            headers = {"authorization": f"Bearer {api_key}"}
            answer = await api.http.request(method, f"/v1/callbacks{path}", headers=headers)
            assert answer.status_code in expected
            assert (subject_id in answer.text) == (answer.status_code == 200)


async def test_no_secret_and_no_address_is_shown_or_logged(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = await four_callbacks(api, clock)
    ours = url_token(api.resources, subject_id)
    body = legacy_callback(subject_id)
    good = signed_headers(body, clock())
    await api.http.post(f"/callbacks/{ours}x", content=body, headers=good)
    for _ in range(2):
        await api.http.post(
            f"/callbacks/relay/{ours}", content=body, headers={"x-relay-secret": SHARED_SECRET}
        )
        await webhook_secrets.add(api.resources, "relay", SHARED_SECRET)
    await webhook_secrets.add(api.resources, "provider", OTHER_SECRET)
    listed = (await page(api))["data"]
    assert {callback["verdict"] for callback in listed} >= {"hint", "rejected", "applied"}
    answers = [await api.http.get("/v1/callbacks")]
    for callback in listed:
        answers.append(await api.http.get(f"/v1/callbacks/{callback['id']}"))
        answers.append(await api.http.post(f"/v1/callbacks/{callback['id']}/reverify"))
    mac, signature = ours.rpartition(".")[2], good["webhook-signature"].removeprefix("v1,")
    hidden = [mac, signature, SHARED_SECRET, OTHER_SECRET, WEBHOOK_SECRET, SECRET_KEY]
    for answer in answers:
        assert secrets_in(answer.text, *hidden) == []
    for line in logged:
        assert secrets_in(" ".join(plain(line)), *hidden) == []
