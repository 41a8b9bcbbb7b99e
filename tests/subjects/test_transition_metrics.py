"""The metrics of transitions move by what happened: once for each move, and for what is ignored."""

from service.intake.steps.accept import accept_batch
from service.intake.steps.validate import validate
from service.reconciliation.steps import expired_leases_and_deadlines
from service.resources import Resources
from service.subjects.domain.lifecycle import TABLE, Ignored, Signal, State
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import TransitionGuard, transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.callbacks import legacy_callback
from tests.support.clock import Clock
from tests.support.ingestion import post_callback, submitted_subject
from tests.support.media_host import media_host
from tests.support.metrics import MetricChanges, shown
from tests.support.request_bodies import request_body
from tests.support.simulator import SimulatorClient

MOVES = "subject_transitions_total"
IGNORED = "signals_ignored_total"
LEASE = 30.0  # seconds; the default
DAY = 86_400.0  # seconds


def test_every_move_of_the_lifecycle_is_shown_before_the_first_of_its_kind() -> None:
    moves = {
        (before.value, after.value)
        for before, decisions in TABLE.items()
        for after in decisions.values()
        if isinstance(after, State)
    }
    assert set(shown(MOVES)) == moves | {("none", "queued")}
    assert set(shown(IGNORED)) == {
        (source.value, reason.value) for source in SignalSource for reason in Ignored
    }


async def test_each_move_of_a_subject_is_counted_once(
    api: Api, clock: Clock, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True})  # its callback is the test's
    changes = MetricChanges()
    subject_id = (await api.create())["id"]
    assert changes.of(MOVES) == {("none", "queued"): 1}
    clock.advance(5)
    (claimed,) = await submit.claim(api.resources, 10)
    assert changes.of(MOVES) == {("none", "queued"): 1, ("queued", "submitting"): 1}
    clock.advance(2)
    await submit.submit(api.resources, claimed)
    assert changes.of(MOVES) == {
        ("none", "queued"): 1,
        ("queued", "submitting"): 1,
        ("submitting", "submitted"): 1,
    }
    assert changes.of("submit_wait_seconds_sum") == {(): 7}
    assert changes.of("provider_seconds_count") == {}
    clock.advance(60)
    task = (await api.read(subject_id))["provider_task_id"]
    body = legacy_callback(subject_id, task=task)
    assert await post_callback(api, subject_id, body) == "applied"
    assert changes.of(MOVES)["submitted", "succeeded"] == 1
    assert sum(changes.of(MOVES).values()) == 4
    assert changes.of("submit_wait_seconds_count") == {(): 1}
    assert changes.of("provider_seconds_count") == {(): 1}
    assert changes.of("provider_seconds_sum") == {(): 62}, "since it was sent"
    assert changes.of(IGNORED) == {}


async def test_a_request_that_is_repeated_or_refused_makes_no_subject(
    resources: Resources, account: str
) -> None:
    requests = [
        validate(resources.settings, account, request_body(name=name), "a key")
        for name in ("Ada", "Ada", "Bea")
    ]
    changes = MetricChanges()
    await accept_batch(resources, requests)
    await accept_batch(resources, requests)
    assert changes.of(MOVES) == {("none", "queued"): 1}


async def test_what_a_callback_or_a_cancel_says_too_late_is_counted_as_ignored(api: Api) -> None:
    subject_id = await submitted_subject(api)
    changes = MetricChanges()
    assert (await api.http.post(f"/v1/subjects/{subject_id}/cancel")).status_code == 409
    assert await post_callback(api, subject_id, legacy_callback(subject_id)) == "applied"
    late = legacy_callback(subject_id, "processing")
    assert await post_callback(api, subject_id, late, "msg_2") == "late"
    assert await post_callback(api, subject_id, late, "msg_2") == "repeated", "by its key alone"
    assert changes.of(IGNORED) == {("cancel", "denied"): 1, ("callback", "late"): 1}
    assert changes.of(MOVES) == {("submitted", "succeeded"): 1}


async def test_media_that_end_a_subject_are_counted_as_its_move(api: Api) -> None:
    async with media_host() as media:
        media.files["side"] = b"no image"
        await api.create(**media.images("front", "side"))
        changes = MetricChanges()
        await api.work(Work.CHECK_MEDIA)
    assert changes.of(MOVES) == {("queued", "failed"): 1}
    assert changes.of("submit_wait_seconds_count") == {}, "the provider never heard of it"


async def test_an_answer_under_a_lost_lease_is_ignored_and_its_lease_counted_once(
    api: Api, clock: Clock
) -> None:
    await api.create()
    (claimed,) = await submit.claim(api.resources, 1)
    clock.advance(LEASE + 1)
    changes = MetricChanges()
    for _ in range(2):
        await expired_leases_and_deadlines.sweep(api.resources)
    assert changes.of("leases_expired_total") == {(): 1}
    assert changes.of(MOVES) == {("submitting", "unconfirmed"): 1}
    guard = TransitionGuard(claimed.lease.token)
    update = StatusUpdate(Signal.LOST)
    await transition(api.resources, claimed.subject.id, update, guard, SignalSource.SUBMIT)
    assert changes.of(IGNORED) == {("submit", "late"): 1}


async def test_an_update_of_no_subject_counts_nothing(resources: Resources) -> None:
    changes = MetricChanges()
    assert await transition(resources, "sub_none", StatusUpdate(Signal.LOST)) is None
    assert (changes.of(MOVES), changes.of(IGNORED)) == ({}, {})


async def test_a_deadline_is_counted_as_a_move_and_no_lease(api: Api, clock: Clock) -> None:
    await submitted_subject(api)
    clock.advance(2 * DAY)
    changes = MetricChanges()
    await expired_leases_and_deadlines.sweep(api.resources)
    assert changes.of(MOVES) == {("submitted", "failed"): 1}
    assert changes.of("leases_expired_total") == {}
