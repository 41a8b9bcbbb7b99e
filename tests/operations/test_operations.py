"""Bulk operations: resend, replay and cancel of all that meet a filter, and of nothing else."""

from typing import Any

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.operations import (
    ask,
    counts,
    dry_run,
    make,
    run_steps,
)
from tests.support.replays import (
    LONG_AGO,
    ONE_RETRY,
    deliver_all,
    delivery_rows,
    received_events,
    subject_with_two_events,
)
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import WebhookReceiver

DIE = """
    UPDATE deliveries SET state = 'dead', due_at = NULL, finished_at = $2, attempts = 2
    WHERE subscriber_id = $1
"""


async def dead_deliveries(api: Api, clock: Clock, url: str, number: int) -> dict[str, Any]:
    """A subscriber with so many dead deliveries, each of another subject, and one delivered."""
    made = await api.subscribe(url, event_types=["subject.queued"])
    for _ in range(number):
        await api.create()
    await fetch(api.resources, DIE, made["id"], clock.now)
    clock.advance(1)
    await api.create()
    await fetch(
        api.resources,
        "UPDATE deliveries SET state = 'delivered', due_at = NULL, finished_at = $1"
        " WHERE state = 'pending'",
        clock.now,
    )
    return made


async def states(api: Api) -> list[str]:
    """The states of all subjects, the oldest first."""
    return [
        row["state"] for row in await fetch(api.resources, "SELECT * FROM subjects ORDER BY id")
    ]


async def test_a_resend_sends_what_is_dead_once_more_as_a_new_attempt(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    for _ in range(3):
        await api.create()
    subscriber.answers += [500] * 6
    await deliver_all(api, clock)
    await api.create()
    await deliver_all(api, clock)
    subscriber.requests.clear()
    operation = await make(api, "resend", {"subscriber_id": made["id"], "state": "dead"})
    assert (operation["count"], operation["account"]) == (3, "acme")
    assert (await run_steps(api, operation))["state"] == "done"
    rows = await delivery_rows(api, made)
    assert sorted((row["state"], row["attempts_at_replay"]) for row in rows) == [
        ("delivered", 0),
        *[("pending", 2)] * 3,
    ]
    await deliver_all(api, clock)
    assert len(subscriber.requests) == 3
    assert sorted(row["attempts"] for row in await delivery_rows(api, made)) == [1, 3, 3, 3]
    assert await api.violations() == []


async def test_an_ended_operation_says_what_came_of_it(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await dead_deliveries(api, clock, subscriber.url, 12)
    given = {"subscriber_id": made["id"], "state": "dead", "created_after": LONG_AGO}
    operation = await make(api, "resend", given, rate=100)
    ended = await run_steps(api, operation)
    assert ended == operation | {
        "state": "done",
        "done": 12,
        "finished_at": ended["finished_at"],
    }
    assert ended["filter"] == given | {"created_after": "2020-01-01T00:00:00.000Z"}
    assert (ended["rate"], ended["count"], ended["count_exact"]) == (100.0, 12, True)
    ids = sorted(row["id"] for row in await delivery_rows(api, made) if row["replayed_at"])
    assert [item["id"] for item in ended["first"]] == ids[:10]
    assert {item["state"] for item in ended["first"]} == {"dead"}


async def test_dead_deliveries_of_every_account_or_of_one(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await dead_deliveries(api, clock, subscriber.url, 2)
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    await fetch(
        api.resources,
        "INSERT INTO subscribers (id, account_id, url, state, secret, created_at)"
        " SELECT 'sbr_other', id, 'https://example.com', 'active', '', $1 FROM accounts"
        " WHERE name = 'other'",
        clock.now,
    )
    await fetch(
        api.resources,
        "INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state,"
        " created_at, finished_at) VALUES ('dlv_1_other', 'evt_1', 'sbr_other', 'evt_1', 1,"
        " 'dead', $1, $1)",
        clock.now,
    )
    assert key
    for account, count in (("acme", 2), ("other", 1), (None, 3)):
        found = await dry_run(api, "resend", {"account": account, "state": "dead"})
        assert (found["count"], found["account"]) == (count, account)
    operation = await make(api, "resend", {"account": "acme", "state": "dead"})
    assert counts(await run_steps(api, operation)) == (2, 2, 0, 0)
    (theirs,) = await delivery_rows(api, {"id": "sbr_other"})
    assert theirs["state"] == "dead"


async def test_filters_of_deliveries_narrow_as_in_their_list(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await dead_deliveries(api, clock, subscriber.url, 3)
    rows = await fetch(api.resources, "SELECT * FROM deliveries ORDER BY created_at, id")
    one = {"subscriber_id": made["id"]}
    last = rows[-1]["created_at"].isoformat()
    narrowed: list[tuple[dict[str, Any], int]] = [
        (one, 4),
        (one | {"state": "delivered"}, 1),
        (one | {"state": "canceled"}, 0),
        (one | {"created_before": last}, 3),
        (one | {"created_after": last}, 0),
        ({"event_id": rows[0]["event_id"]}, 1),
        ({"event_id": rows[0]["event_id"], "state": "delivered"}, 0),
        (one | {"event_id": rows[3]["event_id"]}, 1),
        ({"event_id": "evt_none"}, 0),
    ]
    for filter_, count in narrowed:
        assert (await dry_run(api, "resend", filter_))["count"] == count, filter_
    operation = await make(api, "resend", {"event_id": rows[0]["event_id"]})
    assert counts(await run_steps(api, operation)) == (1, 1, 0, 0)


async def test_a_dry_run_says_what_it_cannot_do_and_writes_nothing(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await dead_deliveries(api, clock, subscriber.url, 2)
    disabled = await dead_deliveries(api, clock, subscriber.url, 1)
    await fetch(
        api.resources, "UPDATE subscribers SET state = 'disabled' WHERE id = $1", disabled["id"]
    )
    before = await fetch(api.resources, "SELECT * FROM deliveries ORDER BY id")
    found = await dry_run(api, "resend", {"state": "dead"})
    assert (found["count"], found["cannot"]) == (2, {"subscriber_disabled": 1})
    assert len(found["first"]) == 2
    assert (found["dry_run"], found["count_exact"]) == (True, True)
    assert await fetch(api.resources, "SELECT * FROM operations") == []
    assert await fetch(api.resources, "SELECT * FROM deliveries ORDER BY id") == before


async def test_a_cancel_cancels_what_is_queued_by_its_filter(api: Api, clock: Clock) -> None:
    person = await api.create(tag_list=[{"tag_id": "o_102"}], external_task_id="mine")
    clock.advance(10)
    await api.create(tag_list=[{"tag_id": "o_101"}])
    then = clock.now.isoformat()
    clock.advance(10)
    await subject_with_two_events(api, tag_list=[{"tag_id": "o_102"}])
    narrowed: list[tuple[dict[str, Any], int, dict[str, int]]] = [
        ({}, 2, {"submitted": 1}),
        ({"state": "queued"}, 2, {}),
        ({"state": "submitted"}, 0, {"submitted": 1}),
        ({"account": "acme"}, 2, {"submitted": 1}),
        ({"account": "operations"}, 0, {}),
        ({"tag": "o_102"}, 1, {"submitted": 1}),
        ({"external_task_id": "mine"}, 1, {}),
        ({"created_before": then}, 1, {}),
        ({"created_after": then}, 0, {"submitted": 1}),
    ]
    for filter_, count, cannot in narrowed:
        found = await dry_run(api, "cancel", filter_)
        assert (found["count"], found["cannot"]) == (count, cannot), filter_
    operation = await make(api, "cancel", {"tag": "o_102"})
    assert operation["first"] == [{"id": person["id"], "state": "queued"}]
    assert counts(await run_steps(api, operation)) == (1, 1, 0, 0)
    assert await states(api) == ["canceled", "queued", "submitted"]
    assert (await api.event_types(person["id"])) == ["queued", "canceled"]
    assert await api.violations() == []


async def test_what_arrives_after_the_cut_off_is_left_alone(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await dead_deliveries(api, clock, subscriber.url, 1)
    queued = await states(api)
    at = clock.now.isoformat()
    clock.advance(1)
    resend = {"subscriber_id": made["id"], "state": "dead"}
    operations = [await make(api, "resend", resend, cut_off=at), await make(api, "cancel", {})]
    clock.advance(1)
    later = await api.create()
    await fetch(api.resources, DIE + " AND state = 'pending'", made["id"], clock.now)
    resent, canceled = [await run_steps(api, operation) for operation in operations]
    assert counts(resent) == (1, 1, 0, 0)
    assert counts(canceled) == (len(queued), len(queued), 0, 0)
    assert await states(api) == ["canceled"] * len(queued) + ["queued"]
    rows = await delivery_rows(api, made)
    late = [row for row in rows if row["ordering_key"] == later["id"]]
    assert [row["state"] for row in late] == ["dead"]
    for what, filter_ in (("resend", resend), ("cancel", {})):
        assert (await dry_run(api, what, filter_, cut_off=at))["count"] == 0
        assert (await dry_run(api, what, filter_))["count"] == 1


async def test_what_changed_meanwhile_is_skipped(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await dead_deliveries(api, clock, subscriber.url, 3)
    resend = await make(api, "resend", {"subscriber_id": made["id"], "state": "dead"})
    (first, *_) = resend["first"]
    assert (await api.http.post(f"/v1/deliveries/{first['id']}/resend")).status_code == 202
    assert counts(await run_steps(api, resend)) == (3, 2, 1, 0)
    subjects = [await api.create() for _ in range(3)]
    cancel = await make(api, "cancel", {"created_after": LONG_AGO, "state": "queued"})
    waiting = cancel["count"]
    await api.http.post(f"/v1/subjects/{subjects[0]['id']}/cancel")
    assert counts(await run_steps(api, cancel)) == (waiting, waiting - 1, 1, 0)


async def test_a_small_operation_is_begun_as_soon_as_it_is_made(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await dead_deliveries(api, clock, subscriber.url, 1)
    operation = await make(api, "resend", {"subscriber_id": made["id"], "state": "dead"})
    assert (await run_steps(api, operation))["finished_at"] is not None
    await api.work(Work.DELIVER)
    assert received_events(subscriber)


REPLAY = {"subscriber_id": "sbr_1", "since": LONG_AGO, "only": "all"}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([], {("", "wrong_type")}),
        ({}, {("/what", "required"), ("/filter", "required")}),
        ({"what": "erase", "filter": {}}, {("/what", "not_allowed")}),
        ({"what": ["cancel"], "filter": {}}, {("/what", "wrong_type")}),
        ({"what": "cancel", "filter": []}, {("/filter", "wrong_type")}),
        ({"what": "cancel", "filter": {"state": "dead"}}, {("/filter/state", "not_allowed")}),
        ({"what": "cancel", "filter": {"since": LONG_AGO}}, {("/filter/since", "unknown_field")}),
        (
            {"what": "cancel", "filter": {"account": "nobody"}},
            {("/filter/account", "unknown_account")},
        ),
        (
            {"what": "cancel", "filter": {"account": "\0"}},
            {("/filter/account", "control_character")},
        ),
        ({"what": "cancel", "filter": {"account": "x" * 101}}, {("/filter/account", "too_long")}),
        ({"what": "cancel", "filter": {"tag": {"a": 1}}}, {("/filter/tag", "wrong_type")}),
        (
            {"what": "cancel", "filter": {"created_after": "yesterday"}},
            {("/filter/created_after", "not_a_time")},
        ),
        ({"what": "cancel", "filter": {}, "rate": 0}, {("/rate", "out_of_range")}),
        ({"what": "cancel", "filter": {}, "rate": True}, {("/rate", "wrong_type")}),
        ({"what": "cancel", "filter": {}, "rate": 1e300}, {("/rate", "out_of_range")}),
        ({"what": "cancel", "filter": {}, "dry_run": 1}, {("/dry_run", "wrong_type")}),
        (
            {"what": "cancel", "filter": {}, "cut_off": "2999-01-01T00:00:00Z"},
            {("/cut_off", "in_the_future")},
        ),
        ({"what": "resend", "filter": {}}, {("/filter/state", "too_wide")}),
        ({"what": "resend", "filter": {"state": "delivered"}}, {("/filter/state", "too_wide")}),
        (
            {"what": "resend", "filter": {"subscriber_id": "é", "state": "pending"}},
            {("/filter/subscriber_id", "not_visible"), ("/filter/state", "not_allowed")},
        ),
        (
            {"what": "resend", "filter": {"subscriber_id": "sbr_none"}},
            {("/filter/subscriber_id", "unknown_subscriber")},
        ),
        (
            {"what": "replay", "filter": {}},
            {(f"/filter/{name}", "required") for name in ("subscriber_id", "since", "only")},
        ),
        ({"what": "replay", "filter": REPLAY}, {("/filter/subscriber_id", "unknown_subscriber")}),
        (
            {"what": "replay", "filter": REPLAY | {"until": "2019-01-01T00:00:00Z"}},
            {("/filter/since", "after_until")},
        ),
        (
            {"what": "replay", "filter": REPLAY, "cut_off": "2019-01-01T00:00:00Z"},
            {("/filter/since", "after_until")},
        ),
    ],
)
async def test_every_error_of_a_request_is_named(
    api: Api,
    body: object,
    errors: set[tuple[str, str]],
) -> None:
    key = await api_keys.create(api.resources, "operations", ["operator"])
    answer = await api.http.post(
        "/v1/operations", json=body, headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 422, answer.text
    assert {(error["pointer"], error["code"]) for error in answer.json()["errors"]} == errors
    assert await fetch(api.resources, "SELECT * FROM operations") == []


async def test_a_subscriber_of_another_account_than_named_is_refused(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9999")
    answer = await ask(api, "resend", {"subscriber_id": made["id"], "account": "operations"})
    assert [error["code"] for error in answer.json()["errors"]] == ["unknown_subscriber"]


async def test_nobody_but_an_operator_makes_or_lists_operations(api: Api) -> None:
    body = {"what": "cancel", "filter": {}}
    assert (await api.http.post("/v1/operations", json=body)).status_code == 403
    assert (await api.http.get("/v1/operations")).status_code == 403
    assert (await api.http.post("/v1/subjects", json=request_body())).status_code == 202


async def test_no_hidden_subscriber_can_be_named(api: Api) -> None:
    await api.create(callback_url="http://127.0.0.1:9999/called")
    (hidden,) = await fetch(api.resources, "SELECT id FROM subscribers WHERE type = 'callback'")
    answer = await ask(api, "resend", {"subscriber_id": hidden["id"]})
    assert answer.status_code == 422
