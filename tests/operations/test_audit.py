"""The audit finds each kind of broken promise, and nothing where none is broken."""

from typing import Any

import pytest
from sqlalchemy import text

from service.operations.store.audit_rules import MAX_VIOLATIONS, RULES
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.subjects import add_subject
from tests.support.webhook_receiver import WebhookReceiver

# Each breaks a promise that no constraint can keep; the number is that of RULES.
BREAKS = {
    0: "DELETE FROM events WHERE sequence = 2",
    1: "UPDATE events SET type = 'subject.succeeded' WHERE sequence = 1",
    2: "UPDATE subjects SET state = 'canceled', finished_at = now(), next_poll_at = NULL",
    3: "DELETE FROM deliveries WHERE sequence = 1",
    4: "DELETE FROM deliveries WHERE url IS NOT NULL",
    5: "UPDATE deliveries SET state = 'pending', finished_at = NULL, due_at = now()"
    " WHERE sequence = 1",
    6: "DELETE FROM attempts",
    7: "UPDATE deliveries SET state = 'dead' WHERE sequence = 2",
    8: "UPDATE deliveries SET state = 'pending', finished_at = NULL WHERE sequence = 1",
}


async def story(api: Api, subscriber: WebhookReceiver) -> None:
    """A subject with two events, delivered both; and the second to its callback_url."""
    await api.subscribe(subscriber.url)
    subject = await api.create(callback_url=subscriber.url)
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
    await transition(api.resources, subject["id"], update)
    for _ in range(2):
        await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 3


@pytest.mark.parametrize("number", range(len(RULES)))
async def test_each_broken_promise_is_found(
    api: Api, subscriber: WebhookReceiver, number: int
) -> None:
    await story(api, subscriber)
    assert await api.violations() == []
    await fetch(api.resources, BREAKS[number])
    rules = {(violation.promise, violation.rule) for violation in await api.violations()}
    assert (RULES[number].promise, RULES[number].text) in rules


async def test_of_one_kind_only_so_many_are_shown(api: Api) -> None:
    subject = await api.create()
    await fetch(
        api.resources,
        "INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,"
        " available_at, deadline, created_at, updated_at)"
        " SELECT 'sub_' || n, account_id, fingerprint, document, tags, 'queued', 1,"
        " now(), now(), now(), now() FROM subjects, generate_series(1, $2) n WHERE id = $1",
        subject["id"],
        MAX_VIOLATIONS + 1,
    )
    assert len(await api.violations()) == MAX_VIOLATIONS


@pytest.mark.parametrize(
    ("wish", "missed"),
    [
        ({}, 1),
        ({"event_types": ["subject.queued"]}, 1),
        ({"event_types": ["subject.failed"]}, 0),
        ({"reference_types": ["image_refer"]}, 1),
        ({"reference_types": ["video_refer"]}, 0),
        ({"tags": ["o_101", "o_102"]}, 1),
        ({"tags": ["o_101"]}, 0),
    ],
)
async def test_a_delivery_is_missed_only_where_the_event_was_wanted(
    api: Api, wish: dict[str, Any], missed: int
) -> None:
    await api.subscribe("http://127.0.0.1:9999", **wish)
    await api.create()
    assert await api.violations() == []
    await fetch(api.resources, "DELETE FROM deliveries")
    assert [violation.rule for violation in await api.violations()] == [RULES[3].text] * missed


async def test_an_event_whose_writer_looked_for_subscribers_before_there_was_one_is_not_missed(
    api: Api, account: str
) -> None:
    """It has no transaction id yet when the subscriber is made."""
    resources = api.resources
    async with resources.database.autocommit() as tx:
        await tx.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        await tx.execute(text("SELECT 1 FROM subscribers"))
        made = await api.subscribe("http://127.0.0.1:9999")
        await add_subject(tx, resources, account)
        await tx.execute(text("COMMIT"))
    assert await api.violations() == []
    await api.create()
    answer = await api.http.patch(f"/v1/subscribers/{made['id']}", json={"description": "x"})
    assert answer.status_code == 200
    await api.create()
    await fetch(resources, "DELETE FROM deliveries")
    assert len(await api.violations()) == 1, "from then on"


async def test_what_is_about_a_subscriber_is_missed_by_the_others_only(
    api: Api, clock: Clock
) -> None:
    about = await api.subscribe("http://127.0.0.1:9999")
    other = await api.subscribe("http://127.0.0.1:9999")
    event = await fetch(
        api.resources,
        "INSERT INTO events (id, about_subscriber_id, account_id, sequence, type, body, created_at)"
        " SELECT 'evt_1', id, account_id, 1, 'callsheet.subscriber.failing', '', $2"
        " FROM subscribers WHERE id = $1 RETURNING id",
        about["id"],
        clock.now,
    )
    (missed,) = await api.violations()
    assert missed.about == f"{event[0]['id']} to {other['id']}"


async def test_order_is_promised_only_where_it_was_asked_for_and_nothing_was_sent_anew(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await story(api, subscriber)
    await fetch(api.resources, BREAKS[5])
    broken = [RULES[5].text]
    assert [violation.rule for violation in await api.violations()] == broken
    excused = (
        "UPDATE subscribers SET ordering = 'none'",
        "UPDATE subscribers SET ordering = 'per_subject', audited_from_xid = NULL",
    )
    for change in excused:
        await fetch(api.resources, change)
        assert await api.violations() == []
    await fetch(api.resources, "UPDATE subscribers SET audited_from_xid = '1'")
    assert [violation.rule for violation in await api.violations()] == broken
    await fetch(api.resources, "UPDATE deliveries SET replayed_at = now() WHERE sequence = 1")
    assert await api.violations() == []
