"""Rows of what waits, and the conditions that they share: any that the tables' CHECKs allow."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.delivery_why import WaitingDelivery
from service.delivery.domain.subscriber_why import WaitingSubscriber
from service.installation.domain.installation import Held, HeldBecause
from service.operations.domain.hold import Hold, HoldTarget
from service.status.domain.conditions import Conditions
from service.subjects.domain.lifecycle import POLLED, TERMINAL, State
from service.subjects.domain.subject import WaitingView
from service.submission.domain.parallel_limit import ParallelLimit
from service.subscribers.domain.subscriber import SubscriberState
from tests.support.subjects import NOW

COPY = Held(HeldBecause.ELSEWHERE, "It is a copy.", None)
RESTORED = Held(HeldBecause.WENT_BACK, "It went back.", NOW - timedelta(seconds=3))
CALM = Conditions(
    worker_runs=True,
    sweep_interval=timedelta(seconds=1),
    holds=(),
    stopped_code=None,
    next_probe_at=None,
    learnt_limit=None,
    configured_limit=10,
    with_provider=0,
    typical_durations={"image_refer": 5.0, "video_refer": 15.0},
)


def moment(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def hold(
    what: HoldTarget, account_id: str | None, since: datetime, until: datetime | None = None
) -> Hold:
    return Hold("hld_1", what, account_id, None, "maintenance", until, since)


# Before, at and after NOW: some close by, some far off.
TIMES = st.one_of(st.integers(-3, 3), st.integers(-1_000_000, 1_000_000)).map(moment)
MAYBE_TIMES = st.none() | TIMES
ACCOUNTS = ("acc_1", "acc_2")
_holds = st.builds(
    hold,
    st.sampled_from(HoldTarget),
    st.sampled_from([None, *ACCOUNTS]),
    TIMES,
    MAYBE_TIMES,
)
conditions = st.builds(
    Conditions,
    worker_runs=st.booleans(),
    sweep_interval=st.sampled_from([timedelta(seconds=0.05), timedelta(hours=1)]),
    holds=st.lists(_holds, max_size=3),
    stopped_code=st.sampled_from([None, 1102]),
    next_probe_at=MAYBE_TIMES,
    learnt_limit=st.none() | st.builds(ParallelLimit, st.integers(0, 20), TIMES),
    configured_limit=st.integers(1, 20),
    with_provider=st.integers(0, 30),
    typical_durations=st.just(CALM.typical_durations),
    installation=st.sampled_from([None, None, COPY, RESTORED]),
)


def waiting_subject(**changes: Any) -> WaitingView:  # noqa: ANN401
    """A queued image subject, with changes to its fields."""
    values: dict[str, Any] = {
        "id": "sub_1",
        "account_id": "acc_1",
        "external_task_id": None,
        "document": {"reference_type": "image_refer"},
        "state": State.QUEUED,
        "version": 1,
        "attempts": 0,
        "available_at": NOW,
        "provider_task_id": None,
        "result": None,
        "error": None,
        "warnings": None,
        "created_at": NOW,
        "updated_at": NOW,
        "finished_at": None,
        "erased_at": None,
        "deadline": moment(86_400),
        "claimed_at": None,
        "lease_until": None,
        "next_poll_at": None,
        "media_check_at": None,
        "media_lease_token": None,
        "media_check_attempts": 0,
        "erasure_requested_at": None,
    }
    return WaitingView(**(values | changes))


@st.composite
def subjects(draw: st.DrawFn) -> WaitingView:
    """A subject in any state, as the CHECKs of the table `subjects` allow it."""
    state = draw(st.sampled_from(State))
    media_check_at = draw(MAYBE_TIMES)
    leased = media_check_at is not None and draw(st.booleans())
    return waiting_subject(
        state=state,
        account_id=draw(st.sampled_from(ACCOUNTS)),
        document={"reference_type": draw(st.sampled_from(["image_refer", "video_refer"]))},
        attempts=draw(st.integers(0, 5)),
        available_at=draw(TIMES),
        updated_at=draw(TIMES),
        finished_at=draw(TIMES) if state in TERMINAL else None,
        deadline=draw(TIMES),
        claimed_at=draw(MAYBE_TIMES),
        lease_until=draw(TIMES) if state is State.SUBMITTING else None,
        next_poll_at=draw(TIMES) if state in POLLED else None,
        media_check_at=media_check_at,
        media_lease_token="lse_1" if leased else None,
        media_check_attempts=draw(st.integers(0, 4)),
    )


def waiting_subscriber(**changes: Any) -> WaitingSubscriber:  # noqa: ANN401
    """A healthy subscriber without limits, with changes to its fields."""
    values: dict[str, Any] = {
        "account_id": "acc_1",
        "state": SubscriberState.ACTIVE,
        "state_since": NOW,
        "disabled_reason": None,
        "concurrency": None,
        "max_rate": None,
        "current_rate": None,
        "rate_changed_at": None,
        "rate_limited_until": None,
        "circuit_open_until": None,
        "failures": 0,
        "failing_since": None,
        "under_way": 0,
        "next_lease_end": None,
    }
    return WaitingSubscriber(**(values | changes))


_rates = st.none() | st.floats(0.01, 1000)


@st.composite
def subscribers(draw: st.DrawFn) -> WaitingSubscriber:
    """A subscriber in any state and of any health."""
    failures, under_way = draw(st.integers(0, 20)), draw(st.integers(0, 300))
    return waiting_subscriber(
        account_id=draw(st.sampled_from(ACCOUNTS)),
        state=draw(st.sampled_from(SubscriberState)),
        state_since=draw(TIMES),
        disabled_reason=draw(st.sampled_from([None, "it answered 410 Gone"])),
        concurrency=draw(st.none() | st.integers(1, 300)),
        max_rate=draw(_rates),
        current_rate=draw(_rates),
        rate_changed_at=draw(MAYBE_TIMES),
        rate_limited_until=draw(MAYBE_TIMES),
        circuit_open_until=draw(MAYBE_TIMES),
        failures=failures,
        failing_since=draw(TIMES) if failures else None,
        under_way=under_way,
        next_lease_end=draw(TIMES) if under_way else None,
    )


def waiting_delivery(**changes: Any) -> WaitingDelivery:  # noqa: ANN401
    """A delivery that is due now, with changes to its fields."""
    values: dict[str, Any] = {
        "state": DeliveryState.PENDING,
        "due_at": NOW,
        "leased": False,
        "waits_since": NOW,
        "attempts": 0,
        "max_attempts": 10,
        "last_error": None,
        "earlier_event_id": None,
        "earlier_due_at": None,
        "ahead": 0,
    }
    return WaitingDelivery(**(values | changes))


@st.composite
def deliveries(draw: st.DrawFn) -> WaitingDelivery:
    """A delivery in any state, as the CHECKs of the table `deliveries` allow it."""
    state = draw(st.sampled_from(DeliveryState))
    due_at = draw(MAYBE_TIMES) if state is DeliveryState.PENDING else None
    earlier = draw(st.booleans())
    return waiting_delivery(
        state=state,
        due_at=due_at,
        leased=state is DeliveryState.PENDING and draw(st.booleans()),
        waits_since=draw(TIMES),
        attempts=draw(st.integers(0, 10)),
        last_error=draw(st.sampled_from([None, "status 500"])),
        earlier_event_id="evt_1_1" if earlier else None,
        earlier_due_at=draw(MAYBE_TIMES) if earlier else None,
        ahead=draw(st.integers(0, 20)),
    )
