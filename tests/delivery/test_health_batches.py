"""The stored health is what all results make of it in the order of their records, however they were
batched, and whatever it was when their deliveries were claimed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.delivery.domain.subscriber_health import (
    OPEN_AFTER,
    FailureThresholds,
    SubscriberHealth,
    apply_results,
)
from service.delivery.domain.throughput import MIN_THROUGHPUT
from service.delivery.remote.outcomes import Answered, AttemptOutcome, Failed, Published
from service.delivery.steps.deliver import Deliverer
from service.delivery.steps.record import AttemptRecorder, decide
from service.delivery.store import subscriber_health
from service.delivery.store.claim import DueDelivery
from service.delivery.store.record import AttemptRecord
from service.kit.leases import Lease
from service.resources import Resources
from tests.support.api import Api
from tests.support.database import executed_statements, fetch
from tests.support.webhook_receiver import WebhookReceiver

THRESHOLDS = FailureThresholds(failing_after=30, disable_after=60)
LONG_AGO = timedelta(days=1)  # how fast the subscriber answers is forgotten
SUCCEEDED, FAILED = Answered(204, None, b"", 0.0), Answered(500, None, b"", 0.0)
TIMED_OUT = Failed("timeout", "no answer", 0.0)
OVERLOADED = Answered(503, "7", b"", 0.0)
GONE = Answered(410, None, b"", 0.0)
attempts = st.sampled_from([SUCCEEDED, FAILED, TIMED_OUT, OVERLOADED, Published(b"", 0.0)])
seconds = st.integers(0, 100)  # at which an attempt ended
batch_lists = st.lists(
    st.lists(st.tuples(attempts | st.just(GONE), seconds), min_size=1, max_size=5),
    min_size=1,
    max_size=12,
)
CLAIM_NEW_DELIVERIES = """
    WITH new_subscriber AS (
        INSERT INTO subscribers (id, account_id, url, state, secret, created_at)
        VALUES ($1, $2, 'http://127.0.0.1:65009', 'active', '', now()) RETURNING id
    ), operational_events AS (
        INSERT INTO events
            (id, account_id, about_subscriber_id, sequence, type, body, created_at)
        SELECT $1 || n, $2, 'sbr_another', 1, 'callsheet.subscriber.failing', '', now()
        FROM generate_series(1, $3::int) n
        RETURNING id
    )
    INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, due_at,
        lease_token, created_at)
    SELECT e.id, e.id, s.id, e.id, 1, 'pending', now(), 'lse_1', now()
    FROM new_subscriber s, operational_events e
    RETURNING id
"""

Batches = Sequence[Sequence[tuple[AttemptOutcome, int]]]


async def claim_new_deliveries(
    resources: Resources, account_id: str, count: int
) -> list[DueDelivery]:
    """Deliveries to a new subscriber, which is healthy, all claimed at once."""
    subscriber_id = resources.new_id("sbr")
    rows = await fetch(resources, CLAIM_NEW_DELIVERIES, subscriber_id, account_id, count)
    return [
        DueDelivery(
            id=row["id"],
            subscriber_id=subscriber_id,
            ordering_key=row["id"],
            sequence=1,
            event_id=row["id"],
            type="subject.queued",
            body=b"",
            event_at=None,
            url=None,
            attempts=0,
            attempts_at_replay=0,
            followers=0,
            subscriber_version=1,
            lease_expired=False,
            at_limit=False,
            lease=Lease("lse_1", row["id"], resources.clock()),
        )
        for row in rows
    ]


def attempted(
    resources: Resources, delivery: DueDelivery, outcome: AttemptOutcome, second: int
) -> AttemptRecord:
    at = resources.clock() - LONG_AGO + timedelta(seconds=second)
    return decide(delivery, outcome, (at, at), (3600.0,), resources.random())


async def stored(resources: Resources, subscriber_id: str) -> SubscriberHealth:
    async with resources.database.transaction() as tx:
        return (await subscriber_health.lock_health(tx, [subscriber_id]))[subscriber_id]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(outcomes=batch_lists)
@example(outcomes=[[(FAILED, 0)], [(SUCCEEDED, 1)]])
@example(outcomes=[*[[(FAILED, 0)], [(SUCCEEDED, 0)]] * OPEN_AFTER])
@example(outcomes=[[(FAILED, 0)] * OPEN_AFTER, [(SUCCEEDED, 1)]])
@example(outcomes=[[(OVERLOADED, 0)], *[[(SUCCEEDED, second)] for second in range(1, 20)]])
@example(outcomes=[[(FAILED, 0)], [(FAILED, 40)], [(SUCCEEDED, 50)]])
async def test_health_is_what_the_results_make_of_it_however_they_are_batched(
    resources: Resources, account: str, outcomes: Batches
) -> None:
    with_thresholds = replace(
        resources.settings,
        failing_after=THRESHOLDS.failing_after,
        disable_after=THRESHOLDS.disable_after,
    )
    recorder = AttemptRecorder(replace(resources, settings=with_thresholds))
    waiting = iter(await claim_new_deliveries(resources, account, sum(map(len, outcomes))))
    batches = [
        [attempted(resources, next(waiting), outcome, second) for outcome, second in batch]
        for batch in outcomes
    ]
    health = SubscriberHealth(batches[0][0].delivery.subscriber_id)
    random = resources.random()
    for batch in batches:
        await recorder.write(batch)
        results = [attempt.result for attempt in batch if attempt.result]
        health = apply_results(health, results, MIN_THROUGHPUT, THRESHOLDS, random)
        assert await stored(resources, health.subscriber_id) == health


async def test_failures_that_are_not_in_a_row_open_no_circuit_breaker(
    resources: Resources, account: str
) -> None:
    """One in ten of a hundred under way at once, each recorded by itself."""
    recorder = AttemptRecorder(resources)
    due = await claim_new_deliveries(resources, account, 120)
    for number, delivery in enumerate(due):
        outcome = SUCCEEDED if number % 10 else FAILED
        await recorder.write([attempted(resources, delivery, outcome, 0)])
    health = await stored(resources, due[0].subscriber_id)
    assert (health.failures, health.circuit_open_until) == (0, None)


async def test_a_success_of_a_healthy_subscriber_touches_no_health(
    api: Api, subscriber: WebhookReceiver
) -> None:
    """Neither locked nor written: those who record to one that is well do not wait for each
    other."""
    await api.subscribe(subscriber.url, concurrency=5)
    await api.create()
    deliverer = Deliverer(api.resources)
    (claimed,) = await deliverer.claim(1)
    with executed_statements() as statements:
        await deliverer.deliver(claimed)
    touching = [
        statement
        for statement in statements
        if "subscriber_health" in statement and "FOR UPDATE" in statement
    ]
    assert touching == []
    assert [statement for statement in statements if "UPDATE subscriber_health" in statement] == []
    (delivery,) = await fetch(api.resources, "SELECT state FROM deliveries")
    assert delivery["state"] == "delivered"
