"""Replays are bulk operations: a small one is done by the request, a large one by workers."""

import asyncio
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES, KeyScope
from service.accounts.steps import api_keys
from service.operations.steps import make_operation, replay, run_operation
from service.subjects.domain.work import Work
from tests.schema.test_plans import EMPTIED, FILLED, unbounded
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch
from tests.support.operations import (
    as_operator,
    counts,
    dry_run,
    make,
    run_one_step,
    run_steps,
    shown_operation,
    take_small_steps,
)
from tests.support.replays import (
    LONG_AGO,
    add_two_events,
    deliver_all,
    delivery_rows,
    received_events,
    replay_count,
    request_replay,
    subject_with_two_events,
)
from tests.support.webhook_receiver import WebhookReceiver

# So many subjects with one event each, of the account of a subscriber.
HISTORY = """
    WITH made AS (
        INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, result,
            available_at, deadline, created_at, updated_at, finished_at)
        SELECT 'sub_h' || lpad(n::text, 8, '0'), s.account_id, 'f', '{}', '{}', 'succeeded', 1,
            '{}', $2, $2, $2, $2, $2
        FROM subscribers s, generate_series(1, $3::int) n WHERE s.id = $1
        RETURNING id, account_id
    )
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_' || substr(id, 5) || '_1', id, account_id, 1, 'subject.succeeded', '', $2
    FROM made ORDER BY id
"""
MANY = 2500


async def with_history(api: Api, clock: Clock, number: int) -> dict[str, Any]:
    """A subscriber that was made after so many events."""
    made = await api.subscribe("http://127.0.0.1:9999")
    await fetch(api.resources, HISTORY, made["id"], clock.now, number)
    clock.advance(1)
    return made


async def account_of(api: Api, subscriber: dict[str, Any]) -> str:
    """The id of the account of a subscriber."""
    sql = "SELECT account_id FROM subscribers WHERE id = $1"
    (row,) = await fetch(api.resources, sql, subscriber["id"])
    account_id: str = row["account_id"]
    return account_id


async def at_location(api: Api, answer: httpx.Response) -> dict[str, Any]:
    """The operation that an answer's Location names, as its account sees it."""
    found = await api.http.get(answer.headers["location"])
    assert found.status_code == 200, found.text
    shown: dict[str, Any] = found.json()
    return shown


async def test_a_small_replay_is_done_when_it_is_answered(api: Api, clock: Clock) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    made = await api.subscribe("http://127.0.0.1:9999")
    answer = await request_replay(api, made, "missing")
    assert answer.json() == {"count": 2, "dry_run": False}
    shown = await at_location(api, answer)
    assert (shown["what"], shown["state"], counts(shown)) == ("replay", "done", (2, 2, 0, 0))
    assert {item["state"] for item in shown["first"]} == {"missing"}
    assert "account" not in shown


async def test_a_small_replay_whose_request_is_cut_off_is_done_by_a_worker(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await with_history(api, clock, 3)
    (acme,) = await fetch(api.resources, "SELECT id FROM accounts")

    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(run_operation, "run_at_once", cut_off)
    body = {"since": LONG_AGO, "only": "missing"}
    with pytest.raises(asyncio.CancelledError):
        await replay.replay_events(api.resources, acme["id"], None, made["id"], body)
    await api.work(Work.OPERATE)
    assert await delivery_rows(api, made) == [], "its lease runs"
    clock.advance(api.resources.settings.lease)
    await api.work(Work.OPERATE)
    assert len(await delivery_rows(api, made)) == 3
    (row,) = await fetch(api.resources, "SELECT * FROM operations")
    assert (row["state"], row["done"]) == ("done", 3)


async def test_a_large_replay_is_done_by_workers(api: Api, clock: Clock) -> None:
    made = await with_history(api, clock, MANY)
    assert await replay_count(api, made, "missing", dry_run=True) == MANY
    answer = await request_replay(api, made, "missing")
    assert (answer.status_code, answer.json()) == (202, {"count": MANY, "dry_run": False})
    shown = await at_location(api, answer)
    assert (shown["state"], counts(shown)) == ("running", (MANY, 0, 0, 0))
    assert await delivery_rows(api, made) == []
    await api.work(Work.OPERATE)
    shown = await at_location(api, answer)
    assert (shown["state"], counts(shown)) == ("done", (MANY, MANY, 0, 0))
    rows = await delivery_rows(api, made)
    assert {(row["state"], row["due_at"]) for row in rows} == {("pending", clock.now)}
    assert len(rows) == MANY


async def test_a_replay_by_workers_keeps_to_the_order(
    api: Api, subscriber: WebhookReceiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 0)
    take_small_steps(monkeypatch, 2)
    subjects = [await api.create() for _ in range(3)]
    for subject in subjects:
        await add_two_events(api, subject["id"])
    clock.advance(1)
    made = await api.subscribe(subscriber.url)
    answer = await request_replay(api, made, "missing")
    await api.work(Work.OPERATE)
    assert counts(await at_location(api, answer)) == (9, 9, 0, 0)
    await deliver_all(api, clock)
    for subject in subjects:
        assert [at for id_, at in received_events(subscriber) if id_ == subject["id"]] == [1, 2, 3]
    assert await api.violations() == []


async def test_what_ended_after_the_cut_off_is_not_replayed(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url)
    await api.create()
    await deliver_all(api, clock)
    filter_ = {"subscriber_id": made["id"], "since": LONG_AGO, "only": "all"}
    operation = await make(api, "replay", filter_)
    clock.advance(1)
    assert await replay_count(api, made, "all") == 1
    await deliver_all(api, clock)
    clock.advance(1)
    assert counts(await run_steps(api, operation)) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE subscribers SET state = 'disabled'", "subscriber_disabled"),
        ("DELETE FROM subscribers", "subscriber_gone"),
    ],
)
async def test_a_replay_ends_with_its_subscriber(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 0)
    made = await with_history(api, clock, 3)
    answer = await request_replay(api, made, "missing")
    await fetch(api.resources, change)
    await api.work(Work.OPERATE)
    shown = await at_location(api, answer)
    assert (shown["state"], shown["stop_reason"], shown["done"]) == ("stopped", reason, 0)


async def test_an_account_runs_so_many_replays_at_once(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 0)
    made = await with_history(api, clock, 3)
    for _ in range(replay.MAX_RUNNING):
        assert (await request_replay(api, made, "missing")).status_code == 202
    refused = await request_replay(api, made, "missing")
    assert (refused.status_code, refused.json()["code"]) == (409, "operations_running")
    await api.work(Work.OPERATE)
    assert len(await delivery_rows(api, made)) == 3
    assert (await request_replay(api, made, "all")).status_code == 202


async def test_an_account_reads_and_stops_its_own_replays_alone(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 0)
    made = await with_history(api, clock, 3)
    own = (await request_replay(api, made, "missing")).headers["location"]
    resend = await make(api, "resend", {"subscriber_id": made["id"]})
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    other = {"authorization": f"Bearer {key}"}
    paths = (own, f"/v1/operations/{resend['id']}", "/v1/operations/opr_none")
    for path in paths:
        assert (await api.http.get(path, headers=other)).status_code == 404
        assert (await api.http.post(f"{path}/stop", headers=other)).status_code == 404
    for path in paths[1:]:
        assert (await api.http.get(path)).status_code == 404
        assert (await api.http.post(f"{path}/stop")).status_code == 404
    stopped = await api.http.post(f"{own}/stop")
    assert (stopped.status_code, stopped.json()["stop_reason"]) == (200, "asked")
    await api.work(Work.OPERATE)
    assert await delivery_rows(api, made) == []


async def test_counting_ends_after_so_many_and_the_operation_says_how_many_there_were(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_operation, "COUNT_SECONDS", 0.0)
    made = await with_history(api, clock, 3)
    answer = await request_replay(api, made, "missing", dry_run=True)
    assert answer.json() == {"count": 0, "count_exact": False, "dry_run": True}
    found = await dry_run(api, "cancel", {})
    assert (found["count"], found["count_exact"]) == (0, False)
    answer = await request_replay(api, made, "missing")
    assert answer.json() == {"count": 0, "count_exact": False, "dry_run": False}
    await api.work(Work.OPERATE)
    shown = await at_location(api, answer)
    assert (shown["count_exact"], counts(shown)) == (True, (3, 3, 0, 0))


async def test_lists_of_operations_narrow_and_go_on(api: Api, clock: Clock) -> None:
    made = []
    for what, filter_ in (
        ("cancel", {}),
        ("cancel", {"account": "acme"}),
        ("resend", {"account": "acme", "state": "dead"}),
    ):
        made.append((await make(api, what, filter_))["id"])
        clock.advance(1)
    await run_one_step(api)
    headers = await as_operator(api)
    narrowed: list[tuple[dict[str, Any], list[str]]] = [
        ({}, made[::-1]),
        ({"state": "done"}, made[:1]),
        ({"state": "running"}, made[:0:-1]),
        ({"what": "resend"}, made[2:]),
        ({"account": "acme"}, made[:0:-1]),
        ({"account": "operations"}, []),
        ({"cursor": made[1]}, made[:1]),
    ]
    for params, ids in narrowed:
        answer = await api.http.get("/v1/operations", params=params, headers=headers)
        assert [one["id"] for one in answer.json()["data"]] == ids, params
    first = await api.http.get("/v1/operations", params={"limit": 2}, headers=headers)
    cursor = first.json()["next_cursor"]
    rest = await api.http.get("/v1/operations", params={"cursor": cursor}, headers=headers)
    assert [one["id"] for one in rest.json()["data"]] == made[:1]
    assert rest.json()["next_cursor"] is None
    for params in ({"state": "lost"}, {"what": "all"}, {"account": "nobody"}, {"tag": "x"}):
        answer = await api.http.get("/v1/operations", params=params, headers=headers)
        assert answer.status_code == 422, params


async def test_an_account_that_counts_much_at_once_is_to_come_back(api: Api, clock: Clock) -> None:
    made = await with_history(api, clock, 2)
    slots, account_id = api.resources.count_slots, await account_of(api, made)
    with ExitStack() as taken:
        for _ in range(make_operation.MAX_COUNTS_PER_ACCOUNT):
            taken.enter_context(slots.slot(account_id))
        answer = await request_replay(api, made, "missing", dry_run=True)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        other = await dry_run(api, "cancel", {})  # not of this account
        assert other["count"] == 0
    assert await replay_count(api, made, "missing", dry_run=True) == 2
    assert slots.in_use == 0


async def test_a_page_of_operations_takes_as_many_statements_as_one_operation(api: Api) -> None:
    made = [await make(api, "cancel", {"account": "acme"}) for _ in range(5)]
    headers = await as_operator(api)

    async def statements(limit: int) -> int:
        with executed_statements() as executed:
            answer = await api.http.get("/v1/operations", params={"limit": limit}, headers=headers)
        assert len(answer.json()["data"]) == limit
        return len(executed)

    await statements(1)  # by which the key is remembered
    assert await statements(len(made)) == await statements(1)


async def test_who_reads_only_sees_operations_and_changes_none(api: Api) -> None:
    operation = await make(api, "cancel", {})
    key = await api_keys.create(api.resources, "operations", [KeyScope.OPERATOR_READ])
    headers = {"authorization": f"Bearer {key}"}
    path = f"/v1/operations/{operation['id']}"
    assert (await api.http.get(path, headers=headers)).json() == operation
    assert (await api.http.get("/v1/operations", headers=headers)).json()["data"] == [operation]
    assert (await api.http.post(f"{path}/stop", headers=headers)).status_code == 403
    body = {"what": "cancel", "filter": {}, "dry_run": True}
    answer = await api.http.post("/v1/operations", json=body, headers=headers)
    assert answer.status_code == 403


async def test_the_action_log_says_who_started_and_stopped_it(api: Api, clock: Clock) -> None:
    made = await with_history(api, clock, 2)
    operation = await make(api, "cancel", {"account": "acme"}, rate=5)
    headers = await as_operator(api)
    await api.http.post(f"/v1/operations/{operation['id']}/stop", headers=headers)
    body = {"since": LONG_AGO, "only": "missing"}
    path = f"/v1/subscribers/{made['id']}/replay"
    replayed = await api.http.post(path, json=body, headers=headers)
    assert (replayed.status_code, replayed.json()["count"]) == (202, 2)
    assert await replay_count(api, made, "missing") == 0, "its own is not written"
    rows = await fetch(api.resources, "SELECT * FROM actions")
    assert {(row["action"], row["object_id"]) for row in rows} == {
        ("operation_started", operation["id"]),
        ("operation_stopped", operation["id"]),
        ("events_replayed", made["id"]),
    }
    assert all('"name": "operations"' in row["actor"] for row in rows)
    await dry_run(api, "cancel", {})
    assert len(await fetch(api.resources, "SELECT * FROM actions")) == 3


# As many are read as there are: what is queued or dead, and one subscriber's, from a position on.
READ_IN_ORDER = ("ix_deliveries_dead", "ix_deliveries_subscriber")


async def test_no_statement_of_an_operation_reads_a_whole_table(api: Api, clock: Clock) -> None:
    await subject_with_two_events(api)
    await api.create()
    made = await with_history(api, clock, 1)
    one = {"subscriber_id": made["id"]}
    everything: list[tuple[str, dict[str, Any]]] = [
        ("resend", {"state": "dead"}),
        ("resend", {"account": "acme", "state": "dead"}),
        ("resend", one | {"state": "dead"}),
        ("resend", one),
        ("resend", {"event_id": "evt_h00000001_1"}),
        ("replay", one | {"since": LONG_AGO, "only": "all"}),
        ("cancel", {}),
        ("cancel", {"account": "acme"}),
    ]
    with executed_statements() as statements:
        for what, filter_ in everything:
            await make(api, what, filter_)
        await api.work(Work.OPERATE)
        shown = await api.http.get("/v1/operations", headers=await as_operator(api))
        for operation in shown.json()["data"]:
            assert (await shown_operation(api, operation))["state"] == "done"
    for tables in (EMPTIED, FILLED):
        wrong = await unbounded(api.resources, tables, statements)
        assert not [plan for plan in wrong if not plan.startswith(READ_IN_ORDER)], "\n".join(wrong)
