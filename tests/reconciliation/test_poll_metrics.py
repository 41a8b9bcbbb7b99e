"""Polls are counted by what came of them."""

import pytest

from service.reconciliation.domain.poll_outcome import PollOutcome
from service.subjects.domain.work import Work
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.ingestion import submitted_subject
from tests.support.metrics import MetricChanges, shown
from tests.support.simulator import SimulatorClient

POLLS = "polls_total"
LATER = 3600.0  # seconds: every poll is due by then
LEASE = 30.0  # seconds; the default


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({}, ("ended", {("submitted", "succeeded"): 1})),
        ({"finished_after": 600}, ("moved", {("submitted", "processing"): 1})),
        ({"processing_after": 600, "finished_after": 600}, ("unchanged", {})),
    ],
)
async def test_a_poll_counts_by_what_it_found(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    fault: dict[str, float],
    expected: tuple[str, dict[tuple[str, ...], float]],
) -> None:
    outcome, moves = expected
    await provider.admin("faults", {"lose": True} | fault)
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    if not fault:
        await provider.wait_until_finished(subject_id)
    clock.advance(LATER)
    changes = MetricChanges()
    await api.work(Work.RECONCILE)
    assert changes.of(POLLS) == {(outcome,): 1}
    assert changes.of("subject_transitions_total") == moves
    ignored = {} if moves else {("poll", "repeated"): 1}
    assert changes.of("signals_ignored_total") == ignored


async def test_a_poll_for_what_the_provider_never_got_counts_as_not_found(
    api: Api, clock: Clock
) -> None:
    await api.create()
    await submit.claim(api.resources, 1)
    clock.advance(LEASE + 1)
    changes = MetricChanges()
    await api.work(Work.RECONCILE)
    assert changes.of(POLLS) == {("not_found",): 1}


async def test_a_poll_without_an_answer_counts_as_such(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await submitted_subject(api)
    await provider.admin("settings", {"rate": 0.001})
    await provider.query("nothing")
    clock.advance(LATER)
    changes = MetricChanges()
    await api.work(Work.RECONCILE)
    assert changes.of(POLLS) == {("no_answer",): 1}
    assert changes.of("provider_requests_total") == {("look_up", "retry_later"): 1}


def test_every_outcome_is_shown_from_the_start() -> None:
    assert set(shown(POLLS)) == {(outcome.value,) for outcome in PollOutcome}
