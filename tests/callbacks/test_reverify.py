"""A rejected callback is applied once its secret is known: once, whoever else verifies it."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest

from service.accounts.domain.scopes import SCOPES
from service.callbacks.steps import reverify, webhook_secrets
from service.kit.crypto.key_formats import format_whsec
from service.subjects.store import subjects
from tests.support.api import Api
from tests.support.callbacks import (
    current_callback,
    legacy_callback,
    signed_headers,
    stored_callbacks,
    url_token,
)
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked

OTHER_SECRET = format_whsec(b"a secret that is not known yet")


@pytest.fixture
def scopes() -> Sequence[str]:
    """An operator's, beside those of its account."""
    return SCOPES


async def post(
    api: Api,
    subject_id: str | None,
    body: bytes,
    message_id: str = "msg_1",
    secret: str = OTHER_SECRET,
) -> httpx.Response:
    path = "" if subject_id is None else f"/{url_token(api.resources, subject_id)}"
    headers = signed_headers(body, api.resources.clock(), message_id, secret)
    return await api.http.post(f"/callbacks{path}", content=body, headers=headers)


def success_body(subject_id: str) -> bytes:
    """Body of a callback that reports success, of a task of this subject's own."""
    return legacy_callback(subject_id, task=subject_id.removeprefix("sub_"))


async def rejected(api: Api, message_id: str = "msg_1") -> tuple[str, str]:
    """The ids of a subject, and of its rejected callback, which reports success."""
    subject_id = (await api.create())["id"]
    assert (await post(api, subject_id, success_body(subject_id), message_id)).status_code == 401
    (row,) = await fetch(
        api.resources, "SELECT id FROM callbacks WHERE subject_id = $1", subject_id
    )
    return subject_id, str(row["id"])


async def post_reverify(api: Api, callback_id: str) -> httpx.Response:
    return await api.http.post(f"/v1/callbacks/{callback_id}/reverify")


async def add_secret(api: Api) -> None:
    await webhook_secrets.add(api.resources, "provider", OTHER_SECRET)


async def test_a_wrong_secret_loses_nothing(api: Api, clock: Clock) -> None:
    subject_id, callback_id = await rejected(api)
    body, received_at = success_body(subject_id), clock()
    assert (await post(api, subject_id, body)).status_code == 401, "a copy"
    clock.advance(86400)
    await add_secret(api)
    answer = await post_reverify(api, callback_id)
    assert answer.status_code == 200, answer.text
    assert (await api.read(subject_id))["state"] == "succeeded"
    assert await api.event_types(subject_id) == ["queued", "succeeded"]
    (row,) = await stored_callbacks(api)
    assert (row["id"], row["dedup_key"], row["body"]) == (callback_id, "msg_1", body)
    assert (row["verdict"], row["reason"], row["verification"]) == ("applied", None, "signed")
    assert (row["times_received"], row["received_at"]) == (2, received_at)
    assert "webhook-signature" not in row["headers"]
    shown = answer.json()
    assert (shown["id"], shown["verdict"], shown["seen"]) == (callback_id, "applied", 2)
    assert await api.violations() == []


async def test_what_is_still_not_believed_stays_as_it_is_but_for_the_reason(api: Api) -> None:
    _, callback_id = await rejected(api)
    await fetch(api.resources, "UPDATE callbacks SET reason = 'of old' RETURNING id")
    before = await stored_callbacks(api)
    for _ in range(2):
        answer = await post_reverify(api, callback_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "still_rejected")
        assert answer.json()["reason"] == "No signature matches."
    assert await stored_callbacks(api) == [before[0] | {"reason": "No signature matches."}]


async def test_all_that_was_rejected_of_a_source_is_verified_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverify, "BATCH_SIZE", 2)
    good = [(await rejected(api, f"msg_{number}"))[0] for number in range(5)]
    await api.http.post("/callbacks", content=b"{}")
    await api.http.post(
        "/callbacks/x.y",
        content=success_body(good[0]),
        headers=signed_headers(b"", api.resources.clock()),
    )
    await add_secret(api)
    assert await reverify.reverify_all(api.resources, "provider") == (7, 5)
    assert {(await api.read(subject_id))["state"] for subject_id in good} == {"succeeded"}
    assert await reverify.reverify_all(api.resources, "provider") == (2, 0)
    assert len(await stored_callbacks(api)) == 7
    assert await reverify.reverify_all(api.resources, "nobody") == (0, 0)


async def test_verified_again_many_times_at_once_it_is_applied_once(api: Api) -> None:
    subject_id, callback_id = await rejected(api)
    await add_secret(api)
    answers = await asyncio.gather(*(post_reverify(api, callback_id) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.json().get("code", "not_rejected") for answer in answers} == {"not_rejected"}
    (row,) = await stored_callbacks(api)
    assert (row["id"], row["verdict"], row["times_received"]) == (callback_id, "applied", 1)
    assert await api.event_types(subject_id) == ["queued", "succeeded"]


async def test_one_that_names_no_subject_may_be_verified_at_once_with_copies_of_it(
    api: Api,
) -> None:
    """Nothing orders these but the unique key."""
    body = current_callback(None, "submitted", outputs=[])
    await post(api, None, body)
    (row,) = await stored_callbacks(api)
    await add_secret(api)
    requests = [post_reverify(api, row["id"]) for _ in range(4)]
    requests += [post(api, None, body) for _ in range(8)]
    statuses = {answer.status_code for answer in await asyncio.gather(*requests)}
    assert statuses <= {200, 404, 409}
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["dedup_key"], row["times_received"]) == ("unknown", "msg_1", 9)


@pytest.mark.parametrize("first", ["retry", "reverify"])
async def test_the_providers_own_retry_and_the_stored_copy_are_one_message(
    api: Api, clock: Clock, first: str
) -> None:
    subject_id, callback_id = await rejected(api)
    body = success_body(subject_id)
    clock.advance(60)
    await add_secret(api)
    if first == "retry":
        assert (await post(api, subject_id, body)).json() == {"verdict": "applied"}
        (newest,) = [row["id"] for row in await stored_callbacks(api) if row["id"] != callback_id]
        assert (await post_reverify(api, callback_id)).json()["id"] == newest
        assert (await post_reverify(api, callback_id)).status_code == 404
    else:
        assert (await post_reverify(api, callback_id)).json()["id"] == callback_id
        assert (await post(api, subject_id, body)).json() == {"verdict": "repeated"}
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["times_received"]) == ("applied", 2)


async def test_a_retry_that_comes_at_once_with_it_is_applied_once(api: Api) -> None:
    callbacks = [await rejected(api, f"msg_{number}") for number in range(6)]
    await add_secret(api)
    requests = [post_reverify(api, callback_id) for _, callback_id in callbacks]
    requests += [
        post(api, subject_id, success_body(subject_id), f"msg_{n}")
        for n, (subject_id, _) in enumerate(callbacks)
    ]
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
    rows = await stored_callbacks(api)
    assert [row["verdict"] for row in rows] == ["applied"] * 6
    assert {row["times_received"] for row in rows} == {2}
    for subject_id, _ in callbacks:
        assert await api.event_types(subject_id) == ["queued", "succeeded"]


async def test_one_that_is_deleted_meanwhile_is_not_stored_again(api: Api) -> None:
    subject_id, callback_id = await rejected(api)
    await add_secret(api)
    async with api.resources.database.transaction() as tx:
        await subjects.lock(tx, subject_id)
        request = asyncio.create_task(post_reverify(api, callback_id))
        await wait_until_blocked(api.resources)
        await fetch(api.resources, "DELETE FROM callbacks RETURNING id")
    assert (await request).status_code == 404
    assert (await api.read(subject_id))["state"] == "queued"
    assert await stored_callbacks(api) == []


async def test_a_secret_added_between_the_read_and_the_write_counts(api: Api) -> None:
    """It is verified with what is in force when it is written."""
    subject_id, callback_id = await rejected(api)
    added, _ = await webhook_secrets.add(api.resources, "provider", OTHER_SECRET)
    assert added.id is not None
    async with api.resources.database.transaction() as tx:
        await subjects.lock(tx, subject_id)
        request = asyncio.create_task(post_reverify(api, callback_id))
        await wait_until_blocked(api.resources)
        await webhook_secrets.remove(api.resources, added.id)
    answer = await request
    assert (answer.status_code, answer.json()["code"]) == (409, "still_rejected")
    assert (await api.read(subject_id))["state"] == "queued"
