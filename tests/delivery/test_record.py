"""What one attempt at a delivery says of the delivery and of its subscriber."""

from datetime import UTC, datetime, timedelta

import pytest

from service.delivery.domain.subscriber_health import AttemptResult
from service.delivery.remote.outcomes import Answered, AttemptOutcome, Failed, NotSent, Published
from service.delivery.steps.record import decide
from service.delivery.store.claim import DueDelivery
from service.delivery.store.record import AttemptRecord
from service.kit.leases import Lease

NOW = datetime(2026, 6, 10, 8, 39, 54, tzinfo=UTC)


def due() -> DueDelivery:
    return DueDelivery(
        id="dlv_1",
        subscriber_id="shr_1",
        ordering_key="sub_1",
        sequence=1,
        event_id="evt_1",
        type="callsheet.subject.queued",
        body=b"{}",
        event_at=None,
        url=None,
        attempts=0,
        attempts_at_replay=0,
        followers=0,
        subscriber_version=1,
        lease_expired=False,
        at_limit=False,
        lease=Lease("lse_1", "dlv_1", NOW),
    )


def decided(outcome: AttemptOutcome) -> AttemptRecord:
    return decide(due(), outcome, (NOW, NOW), (5.0,), 0.5)


@pytest.mark.parametrize(
    ("outcome", "status", "error", "response_body"),
    [
        (Answered(204, None, b"well", 0.25), 204, None, b"well"),
        (Answered(500, None, b"ill", 0.25), 500, "status 500", b"ill"),
        (Published(b"1-0", 0.25), None, None, b"1-0"),
        (Failed("dns", "no such name", 0.25), None, "dns: no such name", b""),
    ],
)
def test_an_outcome_is_recorded_in_words(
    outcome: AttemptOutcome, status: int | None, error: str | None, response_body: bytes
) -> None:
    attempt = decided(outcome)
    assert (attempt.status, attempt.error, attempt.response_body) == (status, error, response_body)
    assert attempt.latency_ms == 250
    assert attempt.state == ("pending" if error else "delivered")
    assert attempt.due_at == (NOW + timedelta(seconds=5) if error else None)


def test_a_message_that_was_not_sent_is_retried_and_leaves_health_alone() -> None:
    attempt = decided(NotSent("it cannot be opened"))
    assert (attempt.status, attempt.error) == (None, "secret: it cannot be opened")
    assert (attempt.latency_ms, attempt.response_body) == (0, b"")
    assert attempt.state == "pending"
    assert attempt.result is None


def test_gone_ends_the_delivery_and_the_subscriber() -> None:
    attempt = decided(Answered(410, None, b"", 0.1))
    assert (attempt.state, attempt.due_at) == ("dead", None)
    assert attempt.result == AttemptResult(succeeded=False, at=NOW, gone=True)


def test_a_failure_counts_against_the_subscriber_whatever_its_reason_is_called() -> None:
    result = decided(Failed("secret", "a word of the sender's", 0.1)).result
    assert result is not None
    assert not result.succeeded
