"""What one attempt at a delivery says of the delivery and of its subscriber."""

from datetime import UTC, datetime

from service.remote.delivery_outcomes import AttemptOutcome, Failed
from service.steps.record import DeliveryDecision, FinishedAttempt, NotSent, decide
from service.store.claim import DueDelivery

NOW = datetime(2026, 6, 10, 8, 39, 54, tzinfo=UTC)


def due() -> DueDelivery:
    return DueDelivery(
        id="dlv_1",
        subscriber_id="shr_1",
        subject_id="sub_1",
        sequence=1,
        event_id="evt_1",
        type="callsheet.subject.queued",
        body=b"{}",
        url=None,
        attempts=0,
        attempts_at_replay=0,
        version=1,
        crowded=False,
    )


def judged(attempt: AttemptOutcome | NotSent) -> DeliveryDecision:
    done = FinishedAttempt(
        due(), "lse_1", attempt, begun=NOW, ended=NOW, schedule=(5.0,), shared=False
    )
    return decide(done, 0.5)


def test_what_was_not_sent_is_tried_again_and_says_nothing_of_the_subscriber() -> None:
    verdict = judged(NotSent("it cannot be opened"))
    assert verdict.state == "pending"
    assert verdict.result is None


def test_a_failure_counts_against_the_subscriber_whatever_its_reason_is_called() -> None:
    result = judged(Failed("secret", "a word of the sender's", 0.1)).result
    assert result is not None
    assert not result.well
