"""Deliveries are claimed once each, recorded only by their claimant, and kept in order."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from msgspec.structs import replace

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.store.claim import ClaimLimits, DueDelivery, claim_due
from service.delivery.store.record import AttemptRecord, record_attempts
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch

CLOSED_PORT = "http://127.0.0.1:65009"
LEASE = timedelta(seconds=30)


async def claim(resources: Resources, lease: str = "lse_1", limit: int = 100) -> list[DueDelivery]:
    limits = ClaimLimits(lease, resources.clock() + LEASE, limit, 100, 100, ())
    async with resources.database.relaxed() as tx:
        return await claim_due(tx, resources.home.fence, limits, resources.clock())


async def record(
    resources: Resources, due: DueDelivery, state: DeliveryState = DeliveryState.DELIVERED
) -> tuple[bool, bool]:
    """Whether it was ours to record, and whether another is due now."""
    now = resources.clock()
    status = 200 if state is DeliveryState.DELIVERED else 500
    due_at = now + timedelta(seconds=5) if state is DeliveryState.PENDING else None
    attempt = AttemptRecord(due, now, status, 1.0, None, b"", state, due_at, None)
    async with resources.database.transaction() as tx:
        ours, following, _ = await record_attempts(tx, [attempt], now)
    return due.id in ours, bool(following)


async def submit(resources: Resources, subject_id: str) -> None:
    """A second event."""
    await transition(
        resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id=subject_id)
    )


def sequences(due_by_subscriber: Sequence[DueDelivery]) -> list[int]:
    return [due.sequence for due in due_by_subscriber]


async def test_concurrent_claims_never_share_a_delivery(api: Api) -> None:
    for _ in range(3):
        await api.subscribe(CLOSED_PORT)
    for _ in range(4):
        await api.create()
    batches = await asyncio.gather(
        *(claim(api.resources, f"lse_{number}", 3) for number in range(8))
    )
    rest = await claim(api.resources)
    counts = Counter(due.id for batch in [*batches, rest] for due in batch)
    assert len(counts) == 12
    assert set(counts.values()) == {1}


async def test_the_second_event_waits_until_the_first_has_ended(api: Api, clock: Clock) -> None:
    await api.subscribe(CLOSED_PORT)
    subject = await api.create()
    (first,) = await claim(api.resources)
    await submit(api.resources, subject["id"])
    assert await claim(api.resources) == []
    assert await record(api.resources, first, state=DeliveryState.PENDING) == (True, False)
    assert await claim(api.resources) == [], "the first is not done with"
    clock.advance(5)
    (first,) = await claim(api.resources)
    assert (first.sequence, first.attempts) == (1, 1)
    assert await record(api.resources, first) == (True, True)
    assert sequences(await claim(api.resources)) == [2]


async def test_other_subjects_do_not_wait(api: Api) -> None:
    await api.subscribe(CLOSED_PORT)
    first = await api.create()
    await claim(api.resources)
    await submit(api.resources, first["id"])
    other = await api.create()
    assert [due.ordering_key for due in await claim(api.resources)] == [other["id"]]


async def test_a_record_under_another_token_writes_nothing(api: Api) -> None:
    await api.subscribe(CLOSED_PORT)
    subject = await api.create()
    await submit(api.resources, subject["id"])
    (due,) = await claim(api.resources)
    of_another = replace(due, lease=replace(due.lease, token="lse_other"))
    assert await record(api.resources, of_another) == (False, False)
    assert await fetch(api.resources, "SELECT * FROM attempts") == []
    rows = await fetch(
        api.resources, "SELECT state, attempts, lease_token FROM deliveries ORDER BY sequence"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("pending", 0, "lse_1"),
        ("pending", 0, None),
    ]


async def test_a_claim_whose_lease_ran_out_is_due_again_and_its_worker_fenced_off(
    api: Api, clock: Clock
) -> None:
    await api.subscribe(CLOSED_PORT)
    await api.create()
    (stale,) = await claim(api.resources, "lse_old")
    clock.advance(LEASE.total_seconds() - 1)
    assert await claim(api.resources) == []
    clock.advance(1)
    (fresh,) = await claim(api.resources, "lse_new")
    assert fresh.id == stale.id
    assert await record(api.resources, stale) == (False, False)
    assert await record(api.resources, fresh) == (True, False)
    assert await api.violations() == []


async def test_an_event_written_while_the_one_before_it_is_recorded_is_never_stuck(
    api: Api,
) -> None:
    await api.subscribe(CLOSED_PORT)
    subjects = [(await api.create())["id"] for _ in range(25)]
    due = await claim(api.resources)
    assert len(due) == len(subjects)
    await asyncio.gather(
        *(record(api.resources, delivery) for delivery in due),
        *(submit(api.resources, subject) for subject in subjects),
    )
    second = await claim(api.resources)
    assert sorted(due.ordering_key for due in second) == sorted(subjects)
    assert set(sequences(second)) == {2}
    assert await api.violations() == []


async def test_only_active_subscribers_are_served(api: Api) -> None:
    made = {}
    for state in ("active", "paused", "disabled"):
        made[state] = (await api.subscribe(f"{CLOSED_PORT}/{state}"))["id"]
        await fetch(
            api.resources, "UPDATE subscribers SET state = $1 WHERE id = $2", state, made[state]
        )
    await api.create()
    assert [due.subscriber_id for due in await claim(api.resources)] == [made["active"]]
    states = await fetch(
        api.resources,
        "SELECT s.state FROM deliveries d JOIN subscribers s ON s.id = d.subscriber_id"
        " ORDER BY s.state",
    )
    assert [row["state"] for row in states] == ["active", "paused"], "what is paused is kept"
    await fetch(api.resources, "UPDATE subscribers SET state = 'active'")
    assert [due.subscriber_id for due in await claim(api.resources)] == [made["paused"]]


async def test_a_subscriber_is_sent_only_its_event_types(api: Api) -> None:
    ends_only = ["subject.canceled", "subject.failed"]
    ends = await api.subscribe(f"{CLOSED_PORT}/ends", event_types=ends_only)
    everything = await api.subscribe(f"{CLOSED_PORT}/all")
    subject = await api.create()
    await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    due_by_subscriber = {(due.subscriber_id, due.type) for due in await claim(api.resources)}
    assert due_by_subscriber == {
        (ends["id"], "subject.canceled"),
        (everything["id"], "subject.queued"),
    }
