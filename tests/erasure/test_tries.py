"""What a try makes of a deletion: the waits, and their end."""

from datetime import UTC, datetime, timedelta

import pytest

from service.erasure.domain import tries
from service.erasure.domain.erasure import Erasure, ErasureState
from service.erasure.domain.tries import MAX_ATTEMPTS, RETRY_CAP, NotYet

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LEASED = Erasure(
    subject_id="sub_1",
    state=ErasureState.PENDING,
    element_id="7",
    next_try_at=NOW,
    lease_token="lse_1",
    requested_at=NOW,
)


def waits(random: float) -> tuple[list[float], Erasure]:
    """The seconds before each further try of a deletion that never succeeds, and how it ends."""
    erasure, now, found = LEASED, NOW, []
    while erasure.state is ErasureState.PENDING:
        erasure = tries.deferred(erasure, NotYet("no", 5001), now, random)
        if erasure.next_try_at is not None:
            found.append((erasure.next_try_at - now).total_seconds())
            now = erasure.next_try_at
    return found, erasure


def test_each_wait_is_twice_the_one_before_up_to_an_hour() -> None:
    found, _ = waits(0.5)
    assert found[:5] == [5, 10, 20, 40, 80]
    assert max(found) == RETRY_CAP
    assert len(found) == MAX_ATTEMPTS - 1


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_it_is_given_up_after_about_three_days(random: float) -> None:
    found, ended = waits(random)
    assert timedelta(days=2.3) < timedelta(seconds=sum(found)) < timedelta(days=3.7)
    assert (ended.state, ended.attempts) == (ErasureState.FAILED, MAX_ATTEMPTS)
    assert ended.error == {
        "code": "given_up",
        "message": "Given up after 80 tries; the last: no",
        "provider_code": 5001,
    }
    assert ended.finished_at is not None


def test_the_waits_are_spread_by_a_fifth() -> None:
    assert waits(0.0)[0][0] == 4
    assert waits(0.999)[0][0] == pytest.approx(6, abs=0.01)


def test_the_provider_may_ask_for_a_longer_wait() -> None:
    longer = tries.deferred(LEASED, NotYet("busy", 1302, 300.0), NOW, 0.5)
    shorter = tries.deferred(LEASED, NotYet("busy", 1302, 1.0), NOW, 0.5)
    assert longer.next_try_at == NOW + timedelta(seconds=300)
    assert shorter.next_try_at == NOW + timedelta(seconds=5)


def test_a_try_that_is_stopped_does_not_count_and_is_due_in_a_minute() -> None:
    erasure = tries.stopped(LEASED, 1101, "in arrears", NOW)
    assert (erasure.attempts, erasure.stopped, erasure.lease_token) == (0, True, None)
    assert erasure.next_try_at == NOW + timedelta(minutes=1)
    assert erasure.error == {
        "code": "provider_stopped",
        "message": "in arrears",
        "provider_code": 1101,
    }
    assert tries.not_resumed(erasure, NOW).stopped
