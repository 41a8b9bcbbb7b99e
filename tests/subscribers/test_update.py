"""PATCH /v1/subscribers/{id} changes the given fields and nothing else."""

import asyncio
import json
from typing import Any

import pytest

from service.delivery.store import subscriber_health
from service.kit.errors import Invalid
from service.subjects.domain.work import Work
from service.subscribers.domain import subscriber_rules
from service.subscribers.steps import manage
from tests.subscribers.test_address_checks import resolving
from tests.subscribers.test_manage import errors
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.work import work_notifications

NOBODY = "http://127.0.0.1:65009"
CLEARED = (
    "failing_since",
    "circuit_open_until",
    "current_rate",
    "status",
    "status_since",
    "reason",
    "notified_status",
)


async def changed(api: Api, made: dict[str, Any], **fields: object) -> dict[str, Any]:
    answer = await api.http.patch(f"/v1/subscribers/{made['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    read = await api.http.get(f"/v1/subscribers/{made['id']}")
    assert read.json() == body
    assert "secret" not in body
    return body


async def row(api: Api) -> dict[str, Any]:
    (found,) = await fetch(
        api.resources,
        "SELECT s.*, h.* FROM subscribers s"
        " LEFT JOIN subscriber_health h ON h.subscriber_id = s.id",
    )
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://127.0.0.1:65010/b"},
        {"event_types": ["subject.failed"]},
        {"reference_types": ["video_refer"]},
        {"tags": ["o_101"]},
        {"description": "another"},
        {"headers": {"X-B": "c"}},
        {"timeout": 1.5},
        {"concurrency": 3},
        {"rate": 2.5},
        {"schedule": [1.0]},
        {"order": "none"},
        {"state": "paused"},
    ],
)
async def test_one_field_changes_and_the_others_stay(api: Api, fields: dict[str, Any]) -> None:
    made = await api.subscribe(NOBODY, headers={"X-A": "b"}, timeout=3, rate=7, tags=["o_102"])
    del made["secret"]
    after = await changed(api, made, **fields)
    assert after.pop("why", {}).get("code") == ("paused" if "state" in fields else None)
    assert after == made | fields
    assert (await row(api))["version"] == 2
    after = await changed(api, made)
    after.pop("why", None)
    assert after == made | fields


async def test_null_resets(api: Api) -> None:
    fields = {
        "event_types": ["subject.failed"],
        "reference_types": ["video_refer"],
        "tags": ["o_101"],
        "timeout": 2,
        "concurrency": 3,
        "rate": 4,
        "schedule": [5],
    }
    made = await api.subscribe(NOBODY, **fields)
    assert {name: made[name] for name in fields} == fields
    reset = await changed(api, made, **dict.fromkeys(fields))
    assert {name: reset[name] for name in fields} == dict.fromkeys(fields)


async def test_null_stands_for_the_default_also_where_that_is_not_null(api: Api) -> None:
    plain = await api.subscribe(NOBODY)
    made = await api.subscribe(
        NOBODY,
        description="d",
        headers={"X-A": "b"},
        order="none",
        signatures=["v1", "v1a"],
        format="standard",
    )
    fields = ("description", "headers", "order", "signatures", "format")
    reset = await changed(api, made, **dict.fromkeys(fields), url=None, state=None)
    assert {name: reset[name] for name in fields} == {name: plain[name] for name in fields}
    assert (reset["url"], reset["state"]) == (NOBODY, "active")


async def test_a_new_subscriber_may_be_written_with_all_that_is_not_set(api: Api) -> None:
    nulls = dict.fromkeys({*subscriber_rules.FIELD_NAMES, "type", "secret"} - {"url"})
    made = await api.subscribe(NOBODY, **nulls)
    plain = await api.subscribe(NOBODY)
    own = ("id", "secret", "created_at")
    assert {n: made[n] for n in made if n not in own} == {
        n: plain[n] for n in plain if n not in own
    }


async def test_every_broken_rule_of_a_change_is_named_at_once(api: Api) -> None:
    made = await api.subscribe(NOBODY)
    path = f"/v1/subscribers/{made['id']}"
    wrong = {"type": "nats", "secret": made["secret"], "url": 7, "state": "disabled", "id": "x"}
    answer = await api.http.patch(path, json=wrong | {"channel": "a"})
    assert errors(answer) == {
        ("/type", "not_changeable"),
        ("/secret", "not_changeable"),
        ("/url", "wrong_type"),
        ("/state", "not_allowed"),
        ("/id", "unknown_field"),
        ("/channel", "not_for_webhooks"),
    }
    assert made["secret"] not in answer.text
    assert errors(await api.http.patch(path, json=[])) == {("", "wrong_type")}
    assert (await row(api))["version"] == 1


async def test_a_new_url_is_judged_as_the_first_was(api: Api) -> None:
    made = await api.subscribe(NOBODY)
    path = f"/v1/subscribers/{made['id']}"
    for url, code in (
        ("https://169.254.169.254/latest", "url_address"),
        ("http://93.184.215.14/", "url_scheme"),
        ("https://user:pass@example.com/", "url_userinfo"),
        ("nats://127.0.0.1", "url_scheme"),
    ):
        assert errors(await api.http.patch(path, json={"url": url})) == {("/url", code)}
    resources = resolving(api.resources)
    account = (await row(api))["account_id"]
    for url, code in (
        ("https://lan.example", "url_blocked"),
        ("http://later.example", "url_scheme"),
    ):
        with pytest.raises(Invalid) as refused:
            await manage.update(resources, account, made["id"], {"url": url})
        assert [error.code for error in refused.value.errors] == [code]
    assert (await api.http.get(path)).json()["url"] == NOBODY


async def test_credentials_change_one_by_one(api: Api) -> None:
    made = await api.subscribe("nats://127.0.0.1", type="nats", channel="a", username="ada")

    async def stored_credentials() -> object:
        encrypted = (await row(api))["credentials"]
        opened = (
            api.resources.encryptor.decrypt(encrypted, f"{made['id']} credentials")
            if encrypted
            else b"{}"
        )
        return json.loads(opened)

    assert await stored_credentials() == {"username": "ada"}
    await changed(api, made, password="p")
    assert await stored_credentials() == {"username": "ada", "password": "p"}
    await changed(api, made, username=None)
    assert await stored_credentials() == {"password": "p"}
    await changed(api, made, channel="b", password=None)
    assert await stored_credentials() == {}
    assert (await row(api))["channel"] == "b"


async def test_a_public_key_is_made_once_and_shown_while_it_signs(api: Api) -> None:
    made = await api.subscribe(NOBODY)
    assert made["public_keys"] == []
    both = await changed(api, made, signatures=["v1a", "v1"])
    assert both["signatures"] == ["v1", "v1a"]
    (key,) = both["public_keys"]
    off = await changed(api, made, signatures=["v1"])
    assert (off["signatures"], off["public_keys"]) == (["v1"], [])
    on = await changed(api, made, signatures=["v1", "v1a"])
    assert on["public_keys"] == [key]
    rotated = await api.http.post(f"/v1/subscribers/{made['id']}/rotate-secret", json={})
    assert rotated.status_code == 200, rotated.text
    shown = await changed(api, made)
    assert len(shown["public_keys"]) == 2
    assert shown["public_keys"][1] == key, "it still signs, beside the new one"


async def test_the_audit_starts_again_when_filters_change(api: Api) -> None:
    made = await api.subscribe(NOBODY, event_types=["subject.failed"])

    async def since() -> int:
        found: int = (await row(api))["audited_from_xid"]
        return found

    before = await since()
    await changed(api, made, description="x", event_types=["subject.failed"], order="per_subject")
    assert await since() == before
    for fields in (
        {"event_types": None},
        {"tags": ["o_101"]},
        {"reference_types": ["video_refer"]},
        {"order": "none"},
    ):
        await changed(api, made, **fields)
        assert await since() > before
        before = await since()
    await changed(api, made, state="paused")
    await changed(api, made, state="active")
    assert await since() == before


async def test_a_paused_subscriber_gets_what_it_missed_once_it_is_active(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    assert (await changed(api, made, state="paused"))["state"] == "paused"
    await api.create()
    await api.work(Work.DELIVER)
    assert subscriber.requests == []
    async with work_notifications(api.resources) as committed:
        assert (await changed(api, made, state="active"))["state"] == "active"
        assert await committed() == ["deliver"]
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1


@pytest.mark.parametrize("state", ["active", "paused"])
async def test_enabling_a_subscriber_resets_its_health(api: Api, clock: Clock, state: str) -> None:
    made = await api.subscribe(NOBODY, rate=5)
    before = (await row(api))["audited_from_xid"]
    async with api.resources.database.transaction() as tx:
        await subscriber_health.disable(tx, made["id"], "it failed", api.resources.clock())
    assert (await row(api))["audited_until_xid"] > before
    await fetch(
        api.resources,
        "UPDATE subscriber_health SET failures = 3, failing_since = $1, circuit_open_until = $1,"
        " failed_probes = 2,"
        " current_rate = 1.5, status = 'disabled', notified_status = 'failing',"
        " status_since = $1, reason = 'it failed',"
        " sequence = 4",
        clock.now,
    )
    assert (await changed(api, made, description="x"))["disabled_reason"] == "it failed"
    clock.advance(1)
    back = await changed(api, made, state=state)
    assert (back["state"], back["disabled_reason"]) == (state, None)
    stored = await row(api)
    assert (stored["audited_from_xid"] > before, stored["audited_until_xid"]) == (True, None)
    clean: dict[str, object] = {"failures": 0, "failed_probes": 0, "sequence": 4, "max_rate": 5}
    clean |= dict.fromkeys(CLEARED)
    assert {name: stored[name] for name in clean} == clean


async def test_resuming_a_paused_subscriber_resets_its_health(api: Api) -> None:
    made = await api.subscribe(NOBODY, concurrency=2)
    await fetch(
        api.resources,
        "UPDATE subscriber_health SET current_rate = 1.5, failures = 1, failing_since = now(),"
        " status = 'failing',"
        " notified_status = 'failing', status_since = now(), reason = 'it failed', sequence = 1",
    )
    for state in ("active", "paused", "paused"):
        await changed(api, made, state=state)
        assert (await row(api))["failures"] == 1
    await changed(api, made, state="active", concurrency=4)
    stored = await row(api)
    clean: dict[str, object] = {"failures": 0, "concurrency": 4, "sequence": 1}
    clean |= dict.fromkeys(CLEARED)
    assert {name: stored[name] for name in clean} == clean


async def test_concurrent_changes_lose_nothing(api: Api) -> None:
    made = await api.subscribe("nats://127.0.0.1", type="nats", channel="a")
    changes: list[dict[str, object]] = [
        {"username": "ada"},
        {"password": "p"},
        {"timeout": 5},
        {"rate": 2},
        {"concurrency": 3},
        {"tags": ["o_101"]},
        {"signatures": ["v1", "v1a"]},
        {"state": "paused"},
    ]
    await asyncio.gather(*(changed_only(api, made, change) for change in changes))
    stored = await row(api)
    assert stored["version"] == 1 + len(changes)
    assert (stored["timeout"], stored["max_rate"], stored["concurrency"]) == (5, 2, 3)
    assert (stored["tags"], stored["state"]) == (["o_101"], "paused")
    assert stored["public_key"] is not None
    opened = api.resources.encryptor.decrypt(stored["credentials"], f"{made['id']} credentials")
    assert json.loads(opened) == {"username": "ada", "password": "p"}


async def changed_only(api: Api, made: dict[str, Any], fields: dict[str, object]) -> None:
    answer = await api.http.patch(f"/v1/subscribers/{made['id']}", json=fields)
    assert answer.status_code == 200, answer.text


async def test_a_change_waits_for_whoever_has_locked_the_health(api: Api) -> None:
    """As a worker does that disables: the health first, then the subscriber."""
    made = await api.subscribe(NOBODY, rate=1)
    async with api.resources.database.transaction() as tx:
        await subscriber_health.lock_health(tx, [made["id"]])
        waiting = asyncio.create_task(changed_only(api, made, {"state": "active"}))
        await wait_until_blocked(api.resources)
        await subscriber_health.disable(tx, made["id"], "it failed", api.resources.clock())
    await waiting
    assert (await row(api))["state"] == "active"


async def test_a_change_of_a_subscriber_being_deleted_is_not_found(api: Api) -> None:
    for body in ({"description": "x"}, {"state": "active"}):
        path = f"/v1/subscribers/{(await api.subscribe(NOBODY))['id']}"
        answers = await asyncio.gather(
            api.http.delete(path), *(api.http.patch(path, json=body) for _ in range(4))
        )
        assert {answer.status_code for answer in answers} <= {204, 200, 404}
    assert await fetch(api.resources, "SELECT subscriber_id FROM subscriber_health") == []
