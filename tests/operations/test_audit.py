"""The audit finds each kind of broken promise, and nothing where none is broken."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.kit.errors import Unavailable
from service.operations.domain.audit_checks import RULES, AuditCheck, ProviderCheck, Violation
from service.operations.steps.audit import Extent, run_audit
from service.operations.store.audit_ranges import SLICE
from service.operations.store.audit_slices import MAX_VIOLATIONS
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.subjects import add_subject
from tests.support.webhook_receiver import WebhookReceiver

ROOT = Path(__file__).parents[2]
ANOTHER = (
    "INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,"
    " available_at, deadline, next_poll_at, claimed_at, created_at, updated_at)"
    " SELECT concat('sub_', n), account_id, fingerprint, document, tags, {state}, 1,"
    " available_at, deadline, {next_poll_at}, created_at, created_at, updated_at"
    " FROM subjects, generate_series(1, {number}) n"
)
# Each breaks a rule that no constraint can keep.
BREAKS = {
    AuditCheck.EVENT_FOR_EACH_VERSION: "DELETE FROM events WHERE sequence = 2",
    AuditCheck.EVENT_SUBJECT: "DELETE FROM subjects",
    AuditCheck.STATES_RISE: "UPDATE events SET type = 'subject.succeeded' WHERE sequence = 1",
    AuditCheck.STATE_OF_LAST_EVENT: "UPDATE subjects SET state = 'canceled', finished_at = now(),"
    " next_poll_at = NULL",
    AuditCheck.CALLBACK_APPLIED: "INSERT INTO callbacks (id, source, dedup_key, subject_id, body,"
    " headers, verdict, received_at, verification, status, size)"
    " SELECT 'cbk_1', 'provider', '1', id, '', '{}', 'applied', now(), 'signed', 'succeed', 0"
    " FROM subjects",
    AuditCheck.FEED_ORDER: "UPDATE events SET xid = '1' WHERE sequence = 2",
    AuditCheck.FEED_AHEAD: "UPDATE events SET xid = '1000000000000' WHERE sequence = 2",
    AuditCheck.DELIVERY_TO_SUBSCRIBER: "DELETE FROM deliveries WHERE sequence = 1",
    AuditCheck.DELIVERY_TO_CALLBACK_URL: "DELETE FROM deliveries WHERE url IS NOT NULL",
    AuditCheck.DELIVERY_ORDER: "UPDATE deliveries SET state = 'pending', finished_at = NULL,"
    " due_at = now() WHERE sequence = 1",
    AuditCheck.DELIVERED_ATTEMPT: "DELETE FROM attempts",
    AuditCheck.DEAD_ATTEMPT: "UPDATE deliveries SET state = 'dead' WHERE sequence = 2",
    AuditCheck.DELIVERY_DUE: "UPDATE deliveries SET state = 'pending', finished_at = NULL"
    " WHERE sequence = 1",
    AuditCheck.DELIVERY_TAKEN: "UPDATE deliveries SET state = 'pending', finished_at = NULL,"
    " due_at = now(), event_id = 'evt_1' WHERE sequence = 1",
    AuditCheck.SUBJECT_DUE: "UPDATE subjects SET next_poll_at = deadline + interval '2 hours'",
    AuditCheck.PAST_DEADLINE: "UPDATE subjects SET deadline = '2001-01-01Z'",
    AuditCheck.SUBMISSION_LEASE: "UPDATE subjects SET state = 'submitting', next_poll_at = NULL,"
    " lease_token = 'lse_1', lease_until = '2001-01-01Z'",
    AuditCheck.MEDIA_LEASE: "UPDATE subjects SET state = 'queued', next_poll_at = NULL,"
    " media_lease_token = 'lse_1', media_check_at = '2001-01-01Z'",
    AuditCheck.DELIVERY_LEASE: "UPDATE deliveries SET state = 'pending', finished_at = NULL,"
    " lease_token = 'lse_1', due_at = '2001-01-01Z' WHERE sequence = 1",
    AuditCheck.ERASURE_LEASE: "INSERT INTO erasures (subject_id, state, next_try_at, lease_token,"
    " requested_at) SELECT id, 'pending', '2001-01-01Z', 'lse_1', '2001-01-01Z' FROM subjects",
    AuditCheck.PROVIDER_SLOTS: ANOTHER.format(
        state="state", next_poll_at="next_poll_at", number=100
    ),
    AuditCheck.SUBSCRIBER_KEY: "UPDATE subscribers SET secret = 'x' WHERE type = 'webhook'",
}

PREVIOUS_KEY = (
    "INSERT INTO previous_signing_keys (id, owner_id, secret, expires_at)"
    " SELECT 'key_1', id, 'x', '3000-01-01Z' FROM subscribers WHERE type = 'webhook'"
)


def test_each_check_is_broken_here_on_purpose() -> None:
    assert set(BREAKS) == set(AuditCheck)
    assert set(RULES) == {*AuditCheck, *ProviderCheck}


def test_the_document_has_each_check_with_its_rule() -> None:
    document = (ROOT / "deploy/README.md").read_text()
    for check, rule in RULES.items():
        promise = "" if rule.promise is None else rule.promise
        assert f"| `{check}` | {promise} | {rule.text} |" in document


async def story(api: Api, subscriber: WebhookReceiver) -> None:
    """A subject with two events, delivered both; and the second to its callback_url."""
    await api.subscribe(subscriber.url)
    subject = await api.create(callback_url=subscriber.url)
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
    await transition(api.resources, subject["id"], update)
    for _ in range(2):
        await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 3


@pytest.mark.parametrize("check", AuditCheck)
@pytest.mark.parametrize("rows", [1, SLICE])
async def test_each_broken_rule_is_found_however_small_the_slices_are(
    api: Api, subscriber: WebhookReceiver, check: AuditCheck, rows: int
) -> None:
    await story(api, subscriber)
    assert (await run_audit(api.resources, Extent(rows=rows))).violations == []
    await fetch(api.resources, BREAKS[check])
    found = (await run_audit(api.resources, Extent(rows=rows))).violations
    assert check in {violation.check for violation in found}


async def test_what_is_not_found_again_at_the_end_is_not_reported(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await story(api, subscriber)
    (row,) = await fetch(api.resources, "SELECT id FROM subjects")
    mended = [Violation(check, row["id"]) for check in AuditCheck]
    assert (await run_audit(api.resources, known=mended)).violations == []
    await fetch(api.resources, BREAKS[AuditCheck.STATE_OF_LAST_EVENT])
    report = await run_audit(api.resources, known=mended)
    assert report.violations == [Violation(AuditCheck.STATE_OF_LAST_EVENT, row["id"])]


async def test_an_audit_that_is_kept_waiting_says_that_it_could_not_look(api: Api) -> None:
    await api.create()
    async with api.resources.database.transaction() as tx:
        await tx.execute(text("LOCK TABLE subjects"))
        with pytest.raises(Unavailable):
            await run_audit(api.resources, Extent(timeout=timedelta(milliseconds=50)))


async def test_the_subjects_that_have_changed_since_are_looked_at_and_no_others(
    api: Api, clock: Clock
) -> None:
    old = await api.create()
    clock.advance(3600)
    new = await api.create(name="b")
    await fetch(api.resources, "UPDATE subjects SET version = 2")
    for minutes, expected in [(90, {old["id"], new["id"]}), (30, {new["id"]})]:
        report = await run_audit(api.resources, Extent(clock.now - timedelta(minutes=minutes)))
        assert {violation.about for violation in report.violations} == expected
        assert report.checked["subjects"] == len(expected)
    await transition(api.resources, old["id"], StatusUpdate(Signal.SUBMITTED, provider_task_id="1"))
    report = await run_audit(api.resources, Extent(clock.now - timedelta(minutes=30), rows=1))
    assert {violation.about for violation in report.violations} == {old["id"], new["id"]}


async def test_of_one_check_only_so_many_are_shown(api: Api) -> None:
    await api.create()
    more = ANOTHER.format(state="'queued'", next_poll_at="NULL", number=MAX_VIOLATIONS + 1)
    await fetch(api.resources, more)
    assert len(await api.violations()) == MAX_VIOLATIONS


async def test_a_lease_is_long_over_by_right_where_no_worker_may_take_its_delivery(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await story(api, subscriber)
    await fetch(api.resources, BREAKS[AuditCheck.DELIVERY_LEASE])
    excuses = {
        "UPDATE subscribers SET state = 'paused'": "UPDATE subscribers SET state = 'active'",
        "INSERT INTO subscriber_health (subscriber_id, circuit_open_until) SELECT id, now()"
        " FROM subscribers": "DELETE FROM subscriber_health",
        "INSERT INTO holds (id, what, reason, created_at)"
        " VALUES ('h', 'deliveries', '', now())": "DELETE FROM holds",
    }
    for excuse, end in excuses.items():
        await fetch(api.resources, excuse)
        assert AuditCheck.DELIVERY_LEASE not in await checks(api), excuse
        await fetch(api.resources, end)
        assert AuditCheck.DELIVERY_LEASE in await checks(api), end


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET callback_url_secret = NULL",
        "UPDATE accounts SET callback_url_secret = 'x'",
        "UPDATE subscribers SET headers = 'x' WHERE type = 'webhook'",
        "UPDATE subscribers SET secret = '' WHERE type = 'webhook'",
        "UPDATE subscribers SET signatures = '{v1,v1a}' WHERE type = 'webhook'",
        PREVIOUS_KEY,
    ],
)
async def test_a_subscriber_without_a_key_that_can_be_read_is_found(
    api: Api, subscriber: WebhookReceiver, change: str
) -> None:
    await story(api, subscriber)
    await fetch(api.resources, change)
    assert await checks(api) == {AuditCheck.SUBSCRIBER_KEY}
    if "webhook" in change:
        await fetch(api.resources, "UPDATE subscribers SET state = 'disabled'")
        assert await checks(api) == set(), "nothing is sent to it"


async def checks(api: Api) -> set[str]:
    return {violation.check for violation in await api.violations()}


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
    assert [violation.rule for violation in await api.violations()] == [
        RULES[AuditCheck.DELIVERY_TO_SUBSCRIBER].text
    ] * missed


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
    await fetch(api.resources, BREAKS[AuditCheck.DELIVERY_ORDER])
    broken = [RULES[AuditCheck.DELIVERY_ORDER].text]
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
