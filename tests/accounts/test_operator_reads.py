"""An operator reads every account: in one list, in one feed, each entry with its account's name."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.accounts.steps import api_keys
from service.kit.database import bounded_scan
from service.status.store import subject_lists
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import WebhookReceiver

COMPAT = "/v1/general/advanced-custom-elements"
LISTS = ("/v1/subjects", "/v1/subscribers", "/v1/events")


@pytest.fixture
async def other(api: Api) -> AsyncIterator[Api]:
    """A caller of another account."""
    async with client(api, "other", DEFAULT_SCOPES) as other:
        yield other


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[Api]:
    """An operator, of an account that has nothing."""
    async with client(api, "operations", ["operator"]) as operator:
        yield operator


@asynccontextmanager
async def client(api: Api, account: str, scopes: Sequence[str]) -> AsyncIterator[Api]:
    key = await api_keys.create(api.resources, account, scopes)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=api.http.base_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        yield Api(api.resources, http)


async def entries(api: Api, path: str, **params: str) -> list[dict[str, Any]]:
    answer = await api.http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["data"]
    return listed


async def walked(api: Api, path: str, **params: str) -> list[dict[str, Any]]:
    """All pages of two, in their order."""
    entries: list[dict[str, Any]] = []
    while True:
        answer = (await api.http.get(path, params={"limit": "2", **params})).json()
        entries += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None or (path == "/v1/events" and not answer["data"]):
            return entries
        params["after" if path == "/v1/events" else "cursor"] = cursor


async def several(api: Api, other: Api, clock: Clock, **fields: Any) -> list[str]:  # noqa: ANN401
    """Two subjects of one account and two of the other, in turns; some of one moment."""
    made = []
    for caller in (api, other, other, api):
        made.append((await caller.create(**fields))["id"])
        clock.advance(len(made) % 2)
    return made


async def test_one_list_has_every_accounts_subjects_the_newest_first(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    made = await several(api, other, clock)
    listed = await walked(operator, "/v1/subjects")
    assert {entry["id"] for entry in listed} == set(made)
    moments = [entry["created_at"] for entry in listed]
    assert moments == sorted(moments, reverse=True)
    assert {entry["id"]: entry["account"] for entry in listed} == dict(
        zip(made, ["acme", "other", "other", "acme"], strict=True)
    )


async def test_bounds_of_time_hold_over_every_account(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    made = []
    for caller in (api, other, api, other):
        made.append(await caller.create())
        clock.advance(0.5)
    bounds = {"created_after": made[0]["created_at"], "created_before": made[3]["created_at"]}
    listed = await walked(operator, "/v1/subjects", **bounds)
    assert [entry["id"] for entry in listed] == [made[2]["id"], made[1]["id"]]
    never = {"created_after": "0001-01-01T00:00:00Z", "created_before": "9999-12-31T23:59:59Z"}
    assert len(await walked(operator, "/v1/subjects", **never)) == 4
    assert await walked(operator, "/v1/subjects", created_before="0001-01-02T00:00:00Z") == []


async def test_states_and_tags_hold_over_every_account(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    await several(api, other, clock)
    tagged = await several(api, other, clock, tag_list=[{"tag_id": "o_108"}])
    await other.http.post(f"/v1/subjects/{tagged[1]}/cancel")
    listed = await walked(operator, "/v1/subjects", tag="o_108")
    assert {entry["id"] for entry in listed} == set(tagged)
    listed = await walked(operator, "/v1/subjects", tag="o_108", state="queued")
    assert {entry["id"] for entry in listed} == {tagged[0], tagged[2], tagged[3]}


async def test_an_external_id_of_several_accounts_is_found_in_each(
    api: Api, other: Api, operator: Api
) -> None:
    made = {(await caller.create(external_task_id="one-name"))["id"] for caller in (api, other)}
    await api.create(external_task_id="another-name")
    listed = await walked(operator, "/v1/subjects", external_task_id="one-name")
    assert {entry["id"] for entry in listed} == made
    own_entries = await entries(
        operator, "/v1/subjects", external_task_id="one-name", account="acme"
    )
    assert [entry["account"] for entry in own_entries] == ["acme"]
    assert await entries(operator, "/v1/subjects", external_task_id="no-name") == []
    canceled = {"external_task_id": "one-name", "state": "canceled"}
    assert await entries(operator, "/v1/subjects", **canceled) == []


async def test_account_narrows_each_list(
    api: Api, other: Api, operator: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    for caller in (api, other):
        await caller.subscribe(subscriber.url)
    await several(api, other, clock)
    for path in LISTS:
        of_all = await walked(operator, path)
        for name in ("acme", "other"):
            listed = await walked(operator, path, account=name)
            assert listed == [entry for entry in of_all if entry["account"] == name]
            assert listed
        assert await entries(operator, path, account="operations") == []


async def test_account_narrows_the_providers_own_list_too(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    made = await several(api, other, clock)
    of_all = await entries(operator, COMPAT)
    assert {entry["task_id"] for entry in of_all} == set(made)
    for name in ("acme", "other"):
        listed = await entries(operator, COMPAT, account=name)
        assert listed == [entry for entry in of_all if entry["account"] == name]
        assert len(listed) == 2
    assert await entries(operator, COMPAT, account="operations") == []
    answer = await operator.http.get(COMPAT, params={"account": "nobody"})
    assert answer.json()["code"] == 1201, answer.text


async def test_an_operator_finds_another_accounts_task_by_our_id_alone(
    api: Api, operator: Api
) -> None:
    """An external id is its own account's, and several may have the same."""
    made = await api.create(external_task_id="one-name")
    found = await operator.http.get(f"{COMPAT}/{made['id']}")
    assert found.json()["data"]["account"] == "acme"
    answer = await operator.http.get(f"{COMPAT}/one-name")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert "not found" in answer.json()["message"]


async def test_an_unknown_account_is_reported_with_all_other_errors(
    operator: Api,
) -> None:
    for path in (*LISTS, "/v1/callbacks"):
        for name in ("nobody", "%00", "%F0%9F%8E%AC"):
            answer = await operator.http.get(f"{path}?account={name}&colour=red")
            assert answer.status_code == 422, path
            pointers = {error["pointer"] for error in answer.json()["errors"]}
            assert pointers == {"/account", "/colour"}


async def test_other_callers_may_name_their_own_account_alone(api: Api, other: Api) -> None:
    await other.create()
    for path in LISTS:
        assert await entries(api, path, account="acme") == await entries(api, path)
        refusals = []
        for name in ("other", "nobody"):
            answer = await api.http.get(path, params={"account": name})
            assert answer.status_code == 403
            refusals.append(answer.text.replace(answer.headers["x-request-id"], ""))
        assert len(set(refusals)) == 1, "whether there is such an account is not said"


async def test_one_feed_has_every_accounts_events_in_order(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    made = await several(api, other, clock)
    all_entries = await walked(operator, "/v1/events")
    assert [entry["data"]["id"] for entry in all_entries] == made
    assert [entry["account"] for entry in all_entries] == ["acme", "other", "other", "acme"]
    own_entries = await entries(api, "/v1/events")
    assert [entry for entry in all_entries if entry["account"] == "acme"] == [
        {"account": "acme", **entry} for entry in own_entries
    ]


async def test_an_operator_may_change_what_another_account_owns(
    api: Api, operator: Api, subscriber: WebhookReceiver
) -> None:
    made, subject = await api.subscribe(subscriber.url), await api.create()
    path = f"/v1/subscribers/{made['id']}"
    paused = await operator.http.patch(path, json={"state": "paused"})
    assert (paused.json()["state"], paused.json()["account"]) == ("paused", "acme")
    assert (await api.http.get(path)).json()["state"] == "paused"
    canceled = await operator.http.post(f"/v1/subjects/{subject['id']}/cancel")
    assert (canceled.json()["state"], canceled.json()["account"]) == ("canceled", "acme")
    (delivery, _) = await entries(operator, f"{path}/deliveries")
    sent = await operator.http.post(f"/v1/deliveries/{delivery['id']}/resend")
    assert (sent.status_code, sent.json()["account"]) == (202, "acme")
    replay = {"since": "2026-01-01T00:00:00Z", "only": "all"}
    replayed = await operator.http.post(f"{path}/replay", json=replay)
    assert (replayed.status_code, replayed.json()["account"]) == (202, "acme")
    assert (await operator.http.delete(path)).status_code == 204
    assert (await api.http.get(path)).status_code == 404


async def test_an_operator_with_other_scopes_creates_in_its_own_account(api: Api) -> None:
    async with client(api, "operations", SCOPES) as both:
        made = await both.create()
        assert made["account"] == "operations"
        batch = (
            await both.http.post("/v1/subjects/batch", json={"subjects": [request_body()]})
        ).json()
        assert batch["data"][0]["subject"]["account"] == "operations"
        of = await fetch(
            api.resources,
            "SELECT DISTINCT a.name FROM subjects s JOIN accounts a ON a.id = s.account_id",
        )
        assert of == [{"name": "operations"}]


async def test_callbacks_are_of_the_account_of_their_subject(
    api: Api, other: Api, operator: Api, clock: Clock
) -> None:
    for number, caller in enumerate((api, other)):
        subject_id = (await caller.create())["id"]
        body = legacy_callback(subject_id, task=f"88{number}")
        path = f"/callbacks/{url_token(api.resources, subject_id)}"
        headers = signed_headers(body, api.resources.clock(), f"msg_{number}")
        assert (await api.http.post(path, content=body, headers=headers)).status_code == 200
        clock.advance(1)
    stray = legacy_callback(None, task="7")
    headers = signed_headers(stray, api.resources.clock(), "msg_stray")
    await api.http.post("/callbacks", content=stray, headers=headers)
    listed = await walked(operator, "/v1/callbacks")
    assert [entry["account"] for entry in listed] == [None, "other", "acme"]
    assert await walked(operator, "/v1/callbacks", account="other") == [listed[1]]
    whole = await operator.http.get(f"/v1/callbacks/{listed[2]['id']}")
    assert whole.json()["account"] == "acme"


async def test_a_rare_state_or_tag_is_found_on_later_pages_where_much_is_passed_over(
    api: Api, operator: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks through so many rows, and says where to go on, though it has none to show."""
    monkeypatch.setattr(subject_lists, "MAX_ROWS_SCANNED", 3)
    assert bounded_scan.MAX_ROWS_SCANNED == 10_000
    rare = await api.create(tag_list=[{"tag_id": "o_101"}])
    for _ in range(7):
        clock.advance(1)
        await api.create()
    for caller in (api, operator):
        first = (await caller.http.get("/v1/subjects?tag=o_101")).json()
        assert first["data"] == []
        assert first["next_cursor"] is not None
        found = await walked(caller, "/v1/subjects", tag="o_101")
        assert [entry["id"] for entry in found] == [rare["id"]]
        assert len(await walked(caller, "/v1/subjects", state="queued")) == 8
        assert await walked(caller, "/v1/subjects", state="failed") == []
