"""Operators make holds, see those in force, and release them; who did it is written down."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import action_log, api_keys
from service.accounts.store.actions import ActionFilter
from service.kit.errors import Invalid
from service.kit.timestamps import format_rfc3339
from service.operations.domain.hold import HoldTarget
from service.operations.steps import holds
from service.resources import Resources
from service.retention.steps import prune
from service.subjects.domain.work import Work
from tests.accounts.test_operator_reads import client
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.holds import hold, release
from tests.support.webhook_receiver import WebhookReceiver

LATER = "2100-01-01T00:00:00.000Z"


@pytest.fixture
def scopes() -> Sequence[str]:
    return ["operator"]


async def make(api: Api, **body: object) -> dict[str, Any]:
    answer = await api.http.post("/v1/holds", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(api: Api, **params: str) -> list[dict[str, Any]]:
    answer = await api.http.get("/v1/holds", params=params)
    assert answer.status_code == 200
    body: dict[str, list[dict[str, Any]]] = answer.json()
    return body["data"]


async def test_a_hold_is_shown_until_it_is_released(api: Api, clock: Clock) -> None:
    first = await make(api, what="intake", reason="moving house", until=LATER)
    assert first == {
        "id": first["id"],
        "what": "intake",
        "account": None,
        "reason": "moving house",
        "until": LATER,
        "created_at": format_rfc3339(clock()),
    }
    clock.advance(1)
    second = await make(api, what="deliveries", reason="they asked", account="acme", until=None)
    assert (second["account"], second["until"]) == ("acme", None)
    assert await listed(api) == [first, second]
    assert await listed(api, account="acme") == [second]
    answer = await api.http.delete(f"/v1/holds/{first['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await listed(api) == [second]
    again = await api.http.delete(f"/v1/holds/{first['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_one_that_is_over_is_not_in_force_and_is_pruned(api: Api, clock: Clock) -> None:
    until = format_rfc3339(clock() + timedelta(seconds=60))
    made = await make(api, what="intake", reason="a minute", until=until)
    clock.advance(0.1)
    kept = await make(api, what="intake", reason="longer")
    clock.advance(59.8)
    assert await listed(api) == [made, kept]
    await prune.prune(api.resources)
    clock.advance(0.1)
    assert await listed(api) == [kept]
    assert (await api.http.delete(f"/v1/holds/{made['id']}")).status_code == 404
    assert len(await fetch(api.resources, "SELECT id FROM holds")) == 2
    await prune.prune(api.resources)
    assert [row["id"] for row in await fetch(api.resources, "SELECT id FROM holds")] == [kept["id"]]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"reason": "why"}, "/what", "required"),
        ({"what": "intake"}, "/reason", "required"),
        ({"what": "polls", "reason": "why"}, "/what", "not_allowed"),
        ({"what": 1, "reason": "why"}, "/what", "wrong_type"),
        ({"what": "intake", "reason": ""}, "/reason", "blank"),
        ({"what": "intake", "reason": "x" * 501}, "/reason", "too_long"),
        ({"what": "intake", "reason": "a\nb"}, "/reason", "control_character"),
        ({"what": "intake", "reason": "a\u202eb"}, "/reason", "not_printable"),
        ({"what": "intake", "reason": "why", "until": "tomorrow"}, "/until", "not_a_time"),
        (
            {"what": "intake", "reason": "why", "until": "2100-01-01T00:00:00"},
            "/until",
            "not_a_time",
        ),
        ({"what": "intake", "reason": "why", "until": 7}, "/until", "wrong_type"),
        ({"what": "intake", "reason": "why", "until": "2026-01-01T00:00:00Z"}, "/until", "past"),
        ({"what": "intake", "reason": "why", "account": "nobody"}, "/account", "unknown"),
        ({"what": "intake", "reason": "why", "account": "a\x00b"}, "/account", "control_character"),
        ({"what": "intake", "reason": "why", "for": "ever"}, "/for", "unknown_field"),
        ([], "", "wrong_type"),
    ],
)
async def test_what_breaks_a_rule_is_named_with_it(
    api: Api, body: object, pointer: str, code: str
) -> None:
    answer = await api.http.post("/v1/holds", json=body)
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        (pointer, code)
    ]
    assert await listed(api) == []


async def test_it_must_end_later_than_now(resources: Resources, clock: Clock) -> None:
    with pytest.raises(Invalid):
        await hold(resources, "intake", until=clock().isoformat())
    await hold(resources, "intake", until=(clock() + timedelta(microseconds=1)).isoformat())


async def test_the_longest_reason_is_kept_whole(api: Api) -> None:
    made = await make(api, what="intake", reason="ü" * 500)
    assert made["reason"] == "ü" * 500


async def test_there_are_no_more_holds_than_a_claim_can_read_each_time(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    monkeypatch.setattr(holds, "MAX_HOLDS", 2)
    made = await hold(resources, "intake")
    await hold(resources, "deliveries")
    answer = await api.http.post("/v1/holds", json={"what": "intake", "reason": "why"})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_holds")
    await release(resources, made)
    await hold(resources, "intake")


async def test_the_action_log_says_who_held_and_who_released(api: Api, clock: Clock) -> None:
    made = await make(api, what="deliveries", reason="why", account="acme", until=LATER)
    clock.advance(1)
    await api.http.delete(f"/v1/holds/{made['id']}")
    entries, _ = await action_log.page(api.resources, ActionFilter(object_id=made["id"]), 10)
    noted = {"what": "deliveries", "reason": "why", "until": LATER}
    assert [(entry.action, entry.account, entry.before, entry.after) for entry in entries] == [
        ("released", "acme", noted, None),
        ("held", "acme", None, noted),
    ]
    assert {entry.actor["kind"] for entry in entries} == {"key"}


async def test_who_only_reads_sees_holds_and_makes_none(api: Api) -> None:
    made = await make(api, what="intake", reason="why")
    async with client(api, "watchers", ["operator:read"]) as reader:
        assert await listed(reader) == [made]
        refused = [
            await reader.http.post("/v1/holds", json={"what": "intake", "reason": "why"}),
            await reader.http.delete(f"/v1/holds/{made['id']}"),
        ]
    async with client(api, "callers", DEFAULT_SCOPES) as caller:
        refused.append(await caller.http.get("/v1/holds"))
    assert [answer.status_code for answer in refused] == [403] * 3


@pytest.mark.parametrize("account", [{}, {"account": "acme"}])
async def test_no_test_event_is_sent_by_hand_while_deliveries_are_held(
    api: Api, subscriber: WebhookReceiver, account: dict[str, str]
) -> None:
    async with client(api, "acme", DEFAULT_SCOPES) as caller:
        made = await caller.subscribe(subscriber.url)
        held = await hold(api.resources, "deliveries", **account)
        await hold(api.resources, "submissions")
        path = f"/v1/subscribers/{made['id']}/test"
        answer = await caller.http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "deliveries_held")
        assert subscriber.requests == []
        await release(api.resources, held)
        assert (await caller.http.post(path)).json()["delivered"]


def test_what_can_be_held_wakes_who_does_it() -> None:
    """New requests come by themselves."""
    assert {HoldTarget.SUBMISSIONS: Work.SUBMIT, HoldTarget.DELIVERIES: Work.DELIVER} == holds.WORK


async def test_a_hold_for_ever_and_a_day_ends_at_the_last_time_that_is_read(
    api: Api,
) -> None:
    """Postgres would keep the last moment as an infinity, which no time compares with."""
    made = await api.http.post(
        "/v1/holds",
        json={"what": "submissions", "reason": "why", "until": "9999-12-31T23:59:59.999999Z"},
    )
    assert (made.status_code, made.json()["until"]) == (201, "9999-12-31T23:59:59.999Z")
    listed = (await api.http.get("/v1/holds")).json()["data"]
    assert listed == [made.json()]
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    api.http.headers["authorization"] = f"Bearer {key}"
    subject = await api.create()
    assert (await api.http.get(f"/v1/subjects/{subject['id']}")).status_code == 200
