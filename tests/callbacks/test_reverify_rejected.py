"""Rejected callbacks are stored, bounded, and never in the way of genuine ones."""

import json
from collections.abc import Sequence

import httpx
import pytest

from service import app, request_batchers
from service.accounts.domain.scopes import SCOPES
from service.callbacks.steps import ingest, webhook_secrets
from service.callbacks.steps.verify import MAX_UNADDRESSED_BODY
from service.kit.crypto.key_formats import format_whsec
from service.resources import Resources
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, stored_callbacks, url_token
from tests.support.clock import Clock
from tests.support.http_server import http_server

FORGED_SECRET = format_whsec(b"a secret that somebody made up")
SHARED_SECRET = "the-secret-of-a-relay"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings with a source that sends its secret along."""
    sources = '{"relay": {"scheme": "shared-secret", "header": "X-Relay"}}'
    return environ | {"CALLSHEET_CALLBACK_SOURCES": sources}


@pytest.fixture
def scopes() -> Sequence[str]:
    """An operator's, beside those of its account."""
    return SCOPES


async def forge(
    api: Api, path: str, body: bytes, message_id: str = "msg_1", **headers: str
) -> httpx.Response:
    forged = signed_headers(body, api.resources.clock(), message_id, FORGED_SECRET) | headers
    answer = await api.http.post(f"/callbacks/{path}", content=body, headers=forged)
    assert answer.status_code == 401
    return answer


async def test_identical_copies_are_stored_once_and_counted(api: Api) -> None:
    subject_id = (await api.create())["id"]
    path, body = url_token(api.resources, subject_id), legacy_callback(subject_id)
    for _ in range(3):
        await forge(api, path, body)
    await forge(api, path, body + b" ")
    await forge(api, path, body, "msg_2")
    rows = await stored_callbacks(api)
    assert sorted(row["times_received"] for row in rows) == [1, 1, 3]
    assert {row["verdict"] for row in rows} == {"rejected"}
    assert {row["reason"] for row in rows} == {"No signature matches."}
    assert {row["subject_id"] for row in rows} == {subject_id}


@pytest.mark.parametrize("bound", ["MAX_UNTRUSTED", "MAX_UNTRUSTED_BYTES"])
async def test_a_flood_of_forgeries_deletes_only_its_own_oldest(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    subject_id = (await api.create())["id"]
    body = legacy_callback(subject_id)
    monkeypatch.setattr(ingest, bound, 3 if bound == "MAX_UNTRUSTED" else 3 * len(body))
    path = url_token(api.resources, subject_id)
    for number in range(2):
        clock.advance(0.001)
        await forge(api, path, body, f"genuine_{number}")
    for number in range(8):
        clock.advance(0.001)
        await forge(api, f"{subject_id}.forged", body, f"forged_{number}")
    messages = [json.loads(row["headers"])["webhook-id"] for row in await stored_callbacks(api)]
    assert messages == ["genuine_0", "genuine_1", "forged_5", "forged_6", "forged_7"]


async def test_of_a_large_body_to_no_address_of_ours_only_the_beginning_is_stored(api: Api) -> None:
    subject_id = (await api.create())["id"]
    body = legacy_callback(subject_id, padding="x" * MAX_UNADDRESSED_BODY)
    await forge(api, url_token(api.resources, subject_id), body)
    await forge(api, f"{subject_id}.forged", body)
    rows = {row["verification"]: row for row in await stored_callbacks(api)}
    assert rows["address"]["body"] == body
    assert rows["none"]["body"] == body[:MAX_UNADDRESSED_BODY]
    assert rows["none"]["reason"].endswith("Only its first 64000 bytes are stored.")


async def test_what_is_untrusted_has_a_batcher_of_its_own(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no more of it may wait, what is genuine is taken all the same."""
    monkeypatch.setattr(request_batchers, "MAX_UNTRUSTED", 0)
    async with (
        http_server(app.build(resources)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        body = legacy_callback(None)
        for secret, status in ((FORGED_SECRET, 503), (WEBHOOK_SECRET, 200)):
            headers = signed_headers(body, resources.clock(), secret=secret)
            answer = await http.post("/callbacks", content=body, headers=headers)
            assert answer.status_code == status


async def test_a_forgery_with_the_id_of_a_genuine_one_is_not_in_its_way(api: Api) -> None:
    subject_id = (await api.create())["id"]
    path, body = url_token(api.resources, subject_id), legacy_callback(subject_id)
    await forge(api, path, legacy_callback(subject_id, "failed"))
    await forge(api, path, body)
    genuine = signed_headers(body, api.resources.clock())
    answer = await api.http.post(f"/callbacks/{path}", content=body, headers=genuine)
    assert answer.json() == {"verdict": "applied"}
    await forge(api, path, legacy_callback(subject_id, "failed"))
    assert (await api.read(subject_id))["state"] == "succeeded"
    rows = [(row["verdict"], row["times_received"]) for row in await stored_callbacks(api)]
    assert sorted(rows) == [("applied", 1), ("rejected", 1), ("rejected", 2)]


async def test_a_shared_secret_is_stored_hashed_and_verified_again_however_often_it_was_refused(
    api: Api,
) -> None:
    subject_id = (await api.create())["id"]
    path = f"/callbacks/relay/{url_token(api.resources, subject_id)}"
    body = legacy_callback(subject_id)
    answer = await api.http.post(path, content=body, headers={"x-relay": SHARED_SECRET})
    assert answer.status_code == 401
    (row,) = await stored_callbacks(api)
    assert SHARED_SECRET not in str(row)
    for _ in range(2):
        answer = await api.http.post(f"/v1/callbacks/{row['id']}/reverify")
        assert answer.json()["reason"] == "No secret is known for this source."
    await webhook_secrets.add(api.resources, "relay", "another-secret-of-the-relay")
    answer = await api.http.post(f"/v1/callbacks/{row['id']}/reverify")
    assert answer.json()["reason"] == "The shared secret does not match."
    await webhook_secrets.add(api.resources, "relay", SHARED_SECRET)
    answer = await api.http.post(f"/v1/callbacks/{row['id']}/reverify")
    assert (answer.status_code, answer.json()["verdict"]) == (200, "hint")
    assert SHARED_SECRET not in answer.text


async def test_what_came_to_a_forged_address_is_never_accepted(api: Api) -> None:
    subject_id = (await api.create())["id"]
    body = legacy_callback(subject_id)
    good = signed_headers(body, api.resources.clock())
    answer = await api.http.post(f"/callbacks/{subject_id}.x", content=body, headers=good)
    assert answer.status_code == 401
    (row,) = await stored_callbacks(api)
    answer = await api.http.post(f"/v1/callbacks/{row['id']}/reverify")
    assert (answer.status_code, answer.json()["reason"]) == (
        409,
        "This address was not made by this service.",
    )


async def test_one_that_is_signed_but_malformed_stays_rejected(api: Api) -> None:
    body = b'{"task_id": "1"}'
    headers = signed_headers(body, api.resources.clock())
    answer = await api.http.post("/callbacks", content=body, headers=headers)
    assert answer.status_code == 400
    (row,) = await stored_callbacks(api)
    answer = await api.http.post(f"/v1/callbacks/{row['id']}/reverify")
    assert (answer.status_code, answer.json()["reason"]) == (
        409,
        "The value of task_status is not a string.",
    )
