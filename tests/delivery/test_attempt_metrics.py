"""Attempts at deliveries are counted and timed once they are recorded, by what came of them."""

from datetime import timedelta

from service.delivery.steps.deliver import Deliverer
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.deliveries import CLOSED_PORT, scripted_subscriber
from tests.support.metrics import MetricChanges
from tests.support.webhook_receiver import WebhookReceiver

ATTEMPTS = "delivery_attempts_total"
DURATIONS = "delivery_attempt_duration_seconds_count"
DELAYS = "delivery_delay_seconds_count"
SECONDS = "delivery_delay_seconds_sum"
LEASE = 30.0  # seconds; the default


async def test_an_attempt_that_delivers_counts_once_with_the_delay_of_its_event(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await api.subscribe(subscriber.url)
    await api.create()
    clock.advance(3)
    changes = MetricChanges()
    for _ in range(2):
        await api.work(Work.DELIVER)
    assert changes.of(ATTEMPTS) == {("webhook", "delivered"): 1}
    assert changes.of(DURATIONS) == {("webhook",): 1}
    assert changes.of(DELAYS) == {("first_attempt",): 1, ("delivered",): 1}
    waited = changes.of(SECONDS)
    assert waited["first_attempt",] == 3
    assert waited["delivered",] >= 3, "and what the attempt took"


async def test_a_retry_is_no_first_attempt(api: Api, clock: Clock) -> None:
    changes = MetricChanges()
    async with scripted_subscriber(500) as failing:
        await api.subscribe(failing.url)
        await api.create()
        await api.work(Work.DELIVER)
        assert changes.of(ATTEMPTS) == {("webhook", "failed"): 1}
        assert changes.of(DELAYS) == {("first_attempt",): 1}
        clock.advance(10)
        failing.answer_with(200)
        await api.work(Work.DELIVER)
    assert changes.of(ATTEMPTS) == {("webhook", "failed"): 1, ("webhook", "delivered"): 1}
    assert changes.of(DURATIONS) == {("webhook",): 2}
    assert changes.of(DELAYS) == {("first_attempt",): 1, ("delivered",): 1}
    assert changes.of(SECONDS)["delivered",] >= 10


async def test_the_last_attempt_counts_as_dead(api: Api) -> None:
    async with scripted_subscriber(410) as gone:
        await api.subscribe(gone.url)
        await api.create()
        changes = MetricChanges()
        await api.work(Work.DELIVER)
    assert changes.of(ATTEMPTS) == {("webhook", "dead"): 1}


async def test_what_is_sent_anew_says_nothing_of_delays(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    await api.create()
    await api.work(Work.DELIVER)
    clock.advance(3600)
    changes = MetricChanges()
    since = (clock() - timedelta(hours=2)).isoformat()
    answer = await api.http.post(
        f"/v1/subscribers/{subscription['id']}/replay", json={"since": since, "only": "all"}
    )
    assert answer.json()["count"] == 1
    await api.work(Work.DELIVER)
    assert changes.of(ATTEMPTS) == {("webhook", "delivered"): 1}
    assert changes.of(DELAYS) == {}


async def test_an_attempt_under_a_lost_lease_counts_as_fenced_and_the_lease_once(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    await api.subscribe(subscriber.url)
    await api.create()
    stopped, other = Deliverer(api.resources), Deliverer(api.resources)
    (stale,) = await stopped.claim(10)
    changes = MetricChanges()
    clock.advance(LEASE)
    (fresh,) = await other.claim(10)
    assert changes.of("leases_expired_total") == {(): 1}
    await other.deliver(fresh)
    stale.lease.until += timedelta(seconds=LEASE)  # as if it was stopped after its last look
    await stopped.deliver(stale)
    assert changes.of(ATTEMPTS) == {("webhook", "delivered"): 1, ("webhook", "fenced"): 1}
    assert changes.of(DELAYS) == {("first_attempt",): 1, ("delivered",): 1}
    assert changes.of("leases_expired_total") == {(): 1}


async def test_a_secret_that_cannot_be_read_is_an_attempt_without_a_time(
    api: Api,
) -> None:
    await api.subscribe(CLOSED_PORT)
    await api.create()
    deliverer = Deliverer(api.resources)
    (due,) = await deliverer.claim(10)
    due.settings = None  # as the cache gives it where no key decrypts them
    changes = MetricChanges()
    await deliverer.deliver(due)
    assert changes.of(ATTEMPTS) == {("unknown", "failed"): 1}
    assert changes.of(DURATIONS) == {}
