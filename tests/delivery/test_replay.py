"""Replays: a subscriber is sent what it missed, no more than it wants, each once."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

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


async def test_missing_is_what_was_never_delivered_older_than_the_subscriber_included(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subjects = [await subject_with_two_events(api) for _ in range(2)]
    clock.advance(3600)
    made = await api.subscribe(subscriber.url)
    assert await replay_count(api, made, "missing", dry_run=True) == 4
    assert await delivery_rows(api, made) == []
    assert await replay_count(api, made, "missing") == 4
    assert await replay_count(api, made, "missing") == 0, "they are on their way"
    await deliver_all(api, clock)
    for subject in subjects:
        assert [at for id_, at in received_events(subscriber) if id_ == subject["id"]] == [1, 2]
    assert await replay_count(api, made, "missing") == 0, "they have been delivered"
    assert await replay_count(api, made, "failed") == 0
    assert await api.violations() == []


async def test_what_is_null_in_the_wish_is_left_out(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    made = await api.subscribe(subscriber.url)
    answer = await request_replay(api, made, "missing", until=None, dry_run=None)
    assert (answer.status_code, answer.json()) == (202, {"count": 2, "dry_run": False})
    for name in ("since", "only"):
        answer = await api.http.post(
            f"/v1/subscribers/{made['id']}/replay",
            json={"since": LONG_AGO, "only": "all", name: None},
        )
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


async def test_failed_is_what_is_dead_and_its_schedule_begins_anew(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url, schedule=ONE_RETRY)
    await subject_with_two_events(api)
    subscriber.answers += [500] * 4
    await deliver_all(api, clock)
    assert [delivery["state"] for delivery in await delivery_rows(api, made)] == ["dead", "dead"]
    subscriber.answers.append(500)
    assert await replay_count(api, made, "failed") == 2
    assert [delivery["attempts_at_replay"] for delivery in await delivery_rows(api, made)] == [2, 2]
    await deliver_all(api, clock)
    found = await delivery_rows(api, made)
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


async def test_all_is_everything_but_what_is_on_its_way(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url)
    await subject_with_two_events(api)
    await deliver_all(api, clock)
    waiting = await subject_with_two_events(api)
    assert await replay_count(api, made, "all", dry_run=True) == 2
    assert await replay_count(api, made, "all") == 2
    assert await replay_count(api, made, "all") == 0
    await deliver_all(api, clock)
    assert len(subscriber.requests) == 6
    assert received_events(subscriber).count((waiting["id"], 1)) == 1
    assert await api.violations() == []


async def test_only_what_was_created_in_the_time_asked_for_is_sent(api: Api, clock: Clock) -> None:
    made = await api.subscribe("http://127.0.0.1:9999", event_types=["subject.canceled"])
    times = []
    for _ in range(3):
        times.append(clock.now.isoformat())
        await api.create()
        clock.advance(60)
    await api.http.patch(f"/v1/subscribers/{made['id']}", json={"event_types": None})
    assert await replay_count(api, made, "missing", since=times[1], dry_run=True) == 2
    between = {"since": times[0], "until": times[2]}
    assert await replay_count(api, made, "missing", **between, dry_run=True) == 2
    assert await replay_count(api, made, "missing", since=times[0], until=times[0]) == 0
    assert await replay_count(api, made, "missing", **between) == 2
    assert await replay_count(api, made, "missing") == 1


async def test_nothing_of_the_time_asked_for_is_left_out_however_the_feed_lies(
    api: Api, clock: Clock
) -> None:
    """Each event is of a transaction of its own, and some were written minutes after they were
    made; between them are those of another account."""
    made = await api.subscribe("http://127.0.0.1:9999")
    await api_keys.create(api.resources, "other", api_keys.DEFAULT_SCOPES)
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
            assert await replay_count(api, made, "missing", **asked) == expected, asked


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_a_subscriber_is_sent_only_what_it_wants(api: Api, clock: Clock, only: str) -> None:
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
    wishes: list[tuple[dict[str, Any], int]] = [
        ({}, 5),
        ({"event_types": ["subject.submitted"]}, 2),
        ({"reference_types": ["video_refer"]}, 1),
        ({"tags": ["o_103", "o_104"]}, 3),
        ({"tags": ["o_104"], "event_types": ["subject.queued"]}, 1),
    ]
    for request, count in wishes:
        made = await api.subscribe("http://127.0.0.1:9999", **request)
        assert await replay_count(api, made, only, dry_run=True) == count, request
        assert await replay_count(api, made, only) == count, request
        assert len(await delivery_rows(api, made)) == count, request


async def test_what_is_about_another_subscriber_is_sent_and_what_is_about_itself_is_not(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url)
    other = await api.subscribe(subscriber.url, tags=["o_101"])
    for subscriber_made in (made, other):
        await fetch(
            api.resources,
            "INSERT INTO events"
            " (id, about_subscriber_id, account_id, sequence, type, body, created_at)"
            " SELECT 'evt_about_' || id, id, account_id, 1,"
            " 'callsheet.subscriber.failing', $2, $3 FROM subscribers WHERE id = $1",
            subscriber_made["id"],
            json.dumps({"type": "told", "data": {"about": subscriber_made["id"]}}).encode(),
            clock.now,
        )
    clock.advance(1)
    assert await replay_count(api, made, "missing") == 1
    await deliver_all(api, clock)
    ((_, body),) = subscriber.requests
    assert json.loads(body)["data"] == {"about": other["id"]}
    assert await replay_count(api, made, "all") == 1
    (row,) = await delivery_rows(api, made)
    assert row["ordering_key"] == row["event_id"]
    assert row["due_at"] == clock.now
    missed = [violation.about for violation in await api.violations()]
    assert missed == [f"evt_about_{made['id']} to {other['id']}"]


async def test_a_disabled_subscriber_is_sent_nothing_and_a_paused_one_later(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    made = await api.subscribe(subscriber.url)
    await fetch(api.resources, "UPDATE subscribers SET state = 'disabled'")
    refused = await request_replay(api, made, "missing")
    assert (refused.status_code, refused.json()["code"]) == (409, "subscriber_disabled")
    await fetch(api.resources, "UPDATE subscribers SET state = 'paused'")
    assert await replay_count(api, made, "missing") == 2
    await deliver_all(api, clock)
    assert subscriber.requests == []
    await fetch(api.resources, "UPDATE subscribers SET state = 'active'")
    await deliver_all(api, clock)
    assert len(subscriber.requests) == 2


async def test_what_belongs_to_another_account_is_not_found(api: Api, clock: Clock) -> None:
    await subject_with_two_events(api)
    clock.advance(1)
    made = await api.subscribe("http://127.0.0.1:9999")
    await replay_count(api, made, "missing")
    (delivery, _) = await delivery_rows(api, made)
    key = await api_keys.create(api.resources, "other", api_keys.DEFAULT_SCOPES)
    headers = {"authorization": f"Bearer {key}"}
    body = {"since": LONG_AGO, "only": "all"}
    answers = [
        await api.http.post(f"/v1/subscribers/{made['id']}/replay", json=body, headers=headers),
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
async def test_what_is_asked_for_wrongly_is_named(
    api: Api, body: object, errors: list[tuple[str, str]]
) -> None:
    made = await api.subscribe("http://127.0.0.1:9999")
    answer = await api.http.post(f"/v1/subscribers/{made['id']}/replay", json=body)
    assert answer.status_code == 422
    found = {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert found == set(errors)


def test_the_time_asked_for_is_one_with_a_zone() -> None:
    """So that nothing depends on where the service runs."""
    now = datetime.fromisoformat("2026-01-01T00:00:00Z")
    request = replay.validate_replay({"since": "2025-12-31T23:00:00+01:00", "only": "all"}, now)
    assert (request.since, request.until) == (now - timedelta(hours=2), now)
