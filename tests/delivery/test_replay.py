"""Replays: a subscriber is sent what it missed, no more than it wants, each once."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.delivery.steps import replay
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.replays import (
    LONG_AGO,
    ONE_RETRY,
    deliver_all,
    delivery_rows,
    received_events,
    replay_count,
    request_replay,
    subject_with_two_events,
)
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import WebhookReceiver

# One each minute, every third of another account.
EVENT = """
    INSERT INTO events (id, account_id, about_subscriber_id, sequence, type, body, created_at)
    SELECT 'evt_' || $1::int, id, 'sbr_another', 1,
        CASE name WHEN 'acme' THEN 'own' ELSE 'theirs' END, '',
        $2::timestamptz + $1 * interval '1 minute' - $3::int * interval '1 minute'
    FROM accounts WHERE (name = 'other') = ($1 % 3 = 1)
"""


async def test_missing_replays_what_was_never_delivered_older_than_the_subscriber_included(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subjects = [await subject_with_two_events(api) for _ in range(2)]
    clock.advance(3600)
    subscription = await api.subscribe(subscriber.url)
    assert await replay_count(api, subscription, "missing", dry_run=True) == 4
    assert await delivery_rows(api, subscription) == []
    assert await replay_count(api, subscription, "missing") == 4
    assert await replay_count(api, subscription, "missing") == 0, "they are on their way"
    await deliver_all(api, clock)
    for subject in subjects:
        assert [at for id_, at in received_events(subscriber) if id_ == subject["id"]] == [1, 2]
    assert await replay_count(api, subscription, "missing") == 0, "they have been delivered"
    assert await replay_count(api, subscription, "failed") == 0
    assert await api.violations() == []


async def test_a_null_field_is_as_if_left_out(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe(subscriber.url)
    answer = await request_replay(api, subscription, "missing", until=None, dry_run=None)
    assert (answer.status_code, answer.json()) == (202, {"count": 2, "dry_run": False})
    for name in ("since", "only"):
        answer = await api.http.post(
            f"/v1/subscribers/{subscription['id']}/replay",
            json={"since": LONG_AGO, "only": "all", name: None},
        )
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


async def test_failed_replays_dead_deliveries_with_a_new_schedule(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    await subject_with_two_events(api)
    subscriber.answers += [500] * 4
    await deliver_all(api, clock)
    assert [delivery["state"] for delivery in await delivery_rows(api, subscription)] == [
        "dead",
        "dead",
    ]
    subscriber.answers.append(500)
    assert await replay_count(api, subscription, "failed") == 2
    assert [
        delivery["attempts_at_replay"] for delivery in await delivery_rows(api, subscription)
    ] == [2, 2]
    await deliver_all(api, clock)
    found = await delivery_rows(api, subscription)
    assert [(delivery["state"], delivery["attempts"]) for delivery in found] == [
        ("delivered", 4),
        ("delivered", 3),
    ]
    attempts = [headers["callsheet-attempt"] for headers, _ in subscriber.requests]
    assert attempts == [
        *(f"{found[0]['id']}.{number}" for number in (1, 2)),
        *(f"{found[1]['id']}.{number}" for number in (1, 2)),
        *(f"{found[0]['id']}.{number}" for number in (3, 4)),
        f"{found[1]['id']}.3",
    ]
    assert await api.violations() == []


async def test_all_replays_everything_but_pending_deliveries(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    await subject_with_two_events(api)
    await deliver_all(api, clock)
    waiting = await subject_with_two_events(api)
    assert await replay_count(api, subscription, "all", dry_run=True) == 2
    assert await replay_count(api, subscription, "all") == 2
    assert await replay_count(api, subscription, "all") == 0
    await deliver_all(api, clock)
    assert len(subscriber.requests) == 6
    assert received_events(subscriber).count((waiting["id"], 1)) == 1
    assert await api.violations() == []


async def test_only_events_created_in_the_time_asked_for_are_sent(api: Api, clock: Clock) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999", event_types=["subject.canceled"])
    times = []
    for _ in range(3):
        times.append(clock.now.isoformat())
        await api.create()
        clock.advance(60)
    await api.http.patch(f"/v1/subscribers/{subscription['id']}", json={"event_types": None})
    assert await replay_count(api, subscription, "missing", since=times[1], dry_run=True) == 2
    between = {"since": times[0], "until": times[2]}
    assert await replay_count(api, subscription, "missing", **between, dry_run=True) == 2
    assert await replay_count(api, subscription, "missing", since=times[0], until=times[0]) == 0
    assert await replay_count(api, subscription, "missing", **between) == 2
    assert await replay_count(api, subscription, "missing") == 1


async def test_a_replay_may_begin_at_the_first_moment_that_there_is(api: Api) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999")
    await api.create()
    since = "0001-01-01T00:00:00Z"
    assert await replay_count(api, subscription, "all", since=since, dry_run=True) == 0


async def test_no_event_of_the_time_asked_for_is_left_out_although_the_feed_is_disordered(
    api: Api, clock: Clock
) -> None:
    """Each event is of a transaction of its own, and some were written minutes after they were
    made; between them are those of another account."""
    subscription = await api.subscribe("http://127.0.0.1:9999")
    await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    start = clock.now
    for number in range(120):
        await fetch(api.resources, EVENT, number, start, number * 7 % 10)
    clock.advance(120 * 60)
    sent = await fetch(api.resources, "SELECT created_at FROM events WHERE type = 'own'")
    times = [event["created_at"] for event in sent]
    assert len(times) == 80
    for first in range(-10, 121, 7):
        since = start + timedelta(minutes=first)
        for minutes in (0, 1, 10, 100):
            until = since + timedelta(minutes=minutes)
            expected = sum(since <= time < until for time in times)
            asked = {"since": since.isoformat(), "until": until.isoformat(), "dry_run": True}
            assert await replay_count(api, subscription, "missing", **asked) == expected, asked


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_a_replay_keeps_to_the_subscribers_filters(api: Api, clock: Clock, only: str) -> None:
    body = request_body(
        reference_type="video_refer",
        element_video_list={"refer_videos": [{"video_url": "https://example.com/a.mp4"}]},
        tag_list=[{"tag_id": "o_103"}],
    )
    answer = await api.http.post("/v1/subjects", json=body)
    assert answer.status_code == 202, answer.text
    await subject_with_two_events(api, tag_list=[{"tag_id": "o_102"}, {"tag_id": "o_104"}])
    await subject_with_two_events(api, tag_list=[])
    clock.advance(1)
    requests: list[tuple[dict[str, Any], int]] = [
        ({}, 5),
        ({"event_types": ["subject.submitted"]}, 2),
        ({"reference_types": ["video_refer"]}, 1),
        ({"tags": ["o_103", "o_104"]}, 3),
        ({"tags": ["o_104"], "event_types": ["subject.queued"]}, 1),
    ]
    for request, count in requests:
        subscription = await api.subscribe("http://127.0.0.1:9999", **request)
        assert await replay_count(api, subscription, only, dry_run=True) == count, request
        assert await replay_count(api, subscription, only) == count, request
        assert len(await delivery_rows(api, subscription)) == count, request


async def test_events_about_other_subscribers_are_replayed_but_not_those_about_itself(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    other = await api.subscribe(subscriber.url, tags=["o_101"])
    for subscriber_row in (subscription, other):
        await fetch(
            api.resources,
            "INSERT INTO events"
            " (id, about_subscriber_id, account_id, sequence, type, body, created_at)"
            " SELECT 'evt_about_' || id, id, account_id, 1,"
            " 'callsheet.subscriber.failing', $2, $3 FROM subscribers WHERE id = $1",
            subscriber_row["id"],
            json.dumps({"type": "operational", "data": {"about": subscriber_row["id"]}}).encode(),
            clock.now,
        )
    clock.advance(1)
    assert await replay_count(api, subscription, "missing") == 1
    await deliver_all(api, clock)
    ((_, body),) = subscriber.requests
    assert json.loads(body)["data"] == {"about": other["id"]}
    assert await replay_count(api, subscription, "all") == 1
    (row,) = await delivery_rows(api, subscription)
    assert row["ordering_key"] == row["event_id"]
    assert row["due_at"] == clock.now
    missed = [violation.about for violation in await api.violations()]
    assert missed == [f"evt_about_{subscription['id']} to {other['id']}"]


async def test_a_disabled_subscriber_is_sent_nothing_and_a_paused_one_later(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe(subscriber.url)
    await fetch(api.resources, "UPDATE subscribers SET state = 'disabled'")
    refused = await request_replay(api, subscription, "missing")
    assert (refused.status_code, refused.json()["code"]) == (409, "subscriber_disabled")
    await fetch(api.resources, "UPDATE subscribers SET state = 'paused'")
    assert await replay_count(api, subscription, "missing") == 2
    await deliver_all(api, clock)
    assert subscriber.requests == []
    await fetch(api.resources, "UPDATE subscribers SET state = 'active'")
    await deliver_all(api, clock)
    assert len(subscriber.requests) == 2


async def test_another_accounts_subscribers_and_deliveries_are_not_found(
    api: Api, clock: Clock
) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    subscription = await api.subscribe("http://127.0.0.1:9999")
    await replay_count(api, subscription, "missing")
    (delivery, _) = await delivery_rows(api, subscription)
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    headers = {"authorization": f"Bearer {key}"}
    body = {"since": LONG_AGO, "only": "all"}
    answers = [
        await api.http.post(
            f"/v1/subscribers/{subscription['id']}/replay", json=body, headers=headers
        ),
        await api.http.post(f"/v1/deliveries/{delivery['id']}/resend", headers=headers),
        await api.http.get(f"/v1/deliveries/{delivery['id']}", headers=headers),
        await api.http.post("/v1/subscribers/sbr_nobody/replay", json=body),
        await api.http.post("/v1/deliveries/dlv_nothing/resend"),
        await api.http.get("/v1/deliveries/dlv_nothing"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 6


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([], [("", "wrong_type")]),
        ({}, [("/since", "required"), ("/only", "required")]),
        ({"since": LONG_AGO, "only": "some"}, [("/only", "not_allowed")]),
        ({"since": LONG_AGO, "only": 7}, [("/only", "wrong_type")]),
        ({"since": "yesterday", "only": "all"}, [("/since", "not_a_time")]),
        ({"since": "2026-01-01T00:00:00", "only": "all"}, [("/since", "not_a_time")]),
        ({"since": "9999-12-31T23:59:59-01:00", "only": "all"}, [("/since", "not_a_time")]),
        (
            {"since": 7, "until": 7, "only": "all"},
            [("/since", "wrong_type"), ("/until", "wrong_type")],
        ),
        ({"since": "2999-01-01T00:00:00Z", "only": "all"}, [("/since", "after_until")]),
        ({"since": LONG_AGO, "only": "all", "dry_run": 1}, [("/dry_run", "wrong_type")]),
        ({"since": LONG_AGO, "only": "all", "dryrun": True}, [("/dryrun", "unknown_field")]),
    ],
)
async def test_every_error_of_a_replay_request_is_named(
    api: Api, body: object, errors: list[tuple[str, str]]
) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999")
    answer = await api.http.post(f"/v1/subscribers/{subscription['id']}/replay", json=body)
    assert answer.status_code == 422
    found = {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert found == set(errors)


def test_times_are_read_with_their_zone() -> None:
    """So that nothing depends on where the service runs."""
    now = datetime.fromisoformat("2026-01-01T00:00:00Z")
    request = replay.validate_replay({"since": "2025-12-31T23:00:00+01:00", "only": "all"}, now)
    assert (request.since, request.until) == (now - timedelta(hours=2), now)
