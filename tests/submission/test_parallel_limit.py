"""The parallel limit follows a provider whose own limit moves, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import pytest

from service.submission.domain.parallel_limit import ParallelLimit, after_refusal, current_limit
from tests.support.subjects import NOW

STEP = 0.05  # virtual seconds
TRIP = 0.2  # virtual seconds from sending a task to hearing what became of it
SETTLED = 15.0  # virtual seconds in which the limit is found again, however far it moved


@dataclass
class Moment:
    """One step of the simulation: what the provider gave, what of it was used, what was refused."""

    at: float
    given: int
    running: int
    sent: int
    refused: int


@dataclass
class Simulation:
    """A provider that gives us `given(seconds)` places, and a client that always has more to send.

    The provider decides on a task when it is sent; the client gets its answer a TRIP later.
    """

    given: Callable[[float], int]
    configured: int
    seed: int
    learnt: ParallelLimit | None = None
    running: list[float] = field(default_factory=list)  # when each ends
    refusals_under_way: list[tuple[float, float]] = field(
        default_factory=list
    )  # each: when the answer comes, when the task was sent
    moments: list[Moment] = field(default_factory=list)

    def run(self, seconds: float) -> list[Moment]:
        rng = random.Random(self.seed)  # noqa: S311 - a simulation that can be repeated
        for number in range(int(seconds / STEP)):
            at = number * STEP
            self.running = [end for end in self.running if end > at]
            refusals = self._hear(at)
            sent = self._send(at, rng)
            self.moments.append(Moment(at, self.given(at), len(self.running), sent, refusals))
        return self.moments

    def _hear(self, at: float) -> int:
        refused_at = [sent for due, sent in self.refusals_under_way if due <= at]
        self.refusals_under_way = [
            refusal for refusal in self.refusals_under_way if refusal[0] > at
        ]
        for sent in refused_at:
            self.learnt = after_refusal(
                self.learnt,
                self.configured,
                running=len(self.running),
                sent_at=NOW + timedelta(seconds=sent),
                now=NOW + timedelta(seconds=at),
            )
        return len(refused_at)

    def _send(self, at: float, rng: random.Random) -> int:
        allowed = current_limit(self.learnt, self.configured, NOW + timedelta(seconds=at))
        free = max(0, allowed - len(self.running) - len(self.refusals_under_way))
        for _ in range(free):
            if len(self.running) < self.given(at):
                self.running.append(at + TRIP + rng.uniform(1, 3))
            else:
                self.refusals_under_way.append((at + TRIP, at))
        return free


def mean(moments: list[Moment], field_name: str) -> float:
    return sum(float(getattr(moment, field_name)) for moment in moments) / len(moments)


def between(moments: list[Moment], start: float, end: float) -> list[Moment]:
    return [moment for moment in moments if start <= moment.at < end]


def stepwise(*steps: tuple[float, int]) -> Callable[[float], int]:
    """From each time on, so many places."""
    return lambda at: [count for since, count in steps if since <= at][-1]


def left_by_others(total: int, seed: int) -> Callable[[float], int]:
    """What other clients leave of a pack: they take a few places more or fewer every second."""
    rng = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
    taken = [total // 3]
    for _ in range(1000):
        taken.append(min(total - 2, max(0, taken[-1] + rng.choice((-1, 0, 0, 1)))))
    return lambda at: total - taken[int(at)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1, 4, 50])
def test_it_settles_near_what_a_provider_gives_whose_limit_moves(seed: int, scale: int) -> None:
    moves = [(0.0, 6), (60.0, 20), (120.0, 3), (180.0, 12), (240.0, 20)]
    given = stepwise(*[(since, count * scale) for since, count in moves])
    moments = Simulation(given, 20 * scale, seed).run(300)
    for since, _ in moves:
        settled = between(moments, since + SETTLED, since + 60)
        assert mean(settled, "running") >= 0.8 * mean(settled, "given"), since


@pytest.mark.parametrize("seed", range(5))
def test_it_settles_near_what_other_clients_leave_of_a_pack(seed: int) -> None:
    moments = between(Simulation(left_by_others(20, seed), 20, seed).run(600), SETTLED, 600)
    assert mean(moments, "running") >= 0.8 * mean(moments, "given")


@pytest.mark.parametrize("seed", range(5))
def test_refusals_stay_rare_once_it_has_settled(seed: int) -> None:
    for total in (2, 8, 20):
        moments = between(Simulation(left_by_others(total, seed), 20, seed).run(600), SETTLED, 600)
        assert sum(moment.refused for moment in moments) <= len(moments) * STEP, "not one a second"


def test_a_provider_that_gives_nothing_is_asked_at_most_once_a_second_and_again_when_it_does() -> (
    None
):
    moments = Simulation(stepwise((0, 10), (60, 0), (180, 10)), 20, seed=1).run(240)
    nothing = between(moments, 60 + SETTLED, 180)
    asked_at = [moment.at for moment in nothing if moment.sent]
    assert sum(moment.sent for moment in nothing) == len(asked_at), "one at a time"
    assert all(later - earlier >= 1 for earlier, later in pairwise(asked_at))
    assert len(asked_at) > 60, "and it is not given up"
    assert mean(between(moments, 180 + SETTLED, 240), "running") >= 7.5


@pytest.mark.parametrize("seed", range(5))
def test_it_never_exceeds_the_most_and_never_starves(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
    steps = [(float(since), rng.randint(1, 30)) for since in range(0, 600, 5)]
    moments = Simulation(stepwise(*steps), 20, seed).run(600)
    assert max(moment.running for moment in moments) <= 20
    for start in range(0, 600, 10):
        assert max(moment.running for moment in between(moments, start, start + 10)) > 0


def test_one_stray_refusal_costs_half_of_the_places_at_most_and_for_seconds_only() -> None:
    for running in (0, 1, 19, 20):
        learnt = after_refusal(None, 20, running=running, sent_at=NOW, now=NOW)
        assert current_limit(learnt, 20, NOW) >= 10
        assert current_limit(learnt, 20, NOW + timedelta(seconds=12)) == 20


def test_it_steps_down_to_a_part_of_what_ran_when_it_was_refused() -> None:
    assert after_refusal(None, 20, running=16, sent_at=NOW, now=NOW) == ParallelLimit(14, NOW)


def test_refusals_of_what_was_sent_before_the_last_one_was_heard_are_one_signal() -> None:
    refused_at = NOW + timedelta(seconds=0.2)
    first = after_refusal(None, 20, running=10, sent_at=NOW, now=refused_at)
    for later in range(1, 30):
        now = refused_at + timedelta(milliseconds=later)
        assert after_refusal(first, 20, running=later, sent_at=NOW, now=now) == first
    again = refused_at + timedelta(seconds=1.5)
    second = after_refusal(
        first, 20, running=4, sent_at=refused_at + timedelta(seconds=1), now=again
    )
    assert second == ParallelLimit(5, again)


def test_within_a_second_of_a_refusal_nothing_is_added_and_then_one_may_always_go() -> None:
    nothing_allowed = ParallelLimit(0, NOW)
    assert [
        current_limit(nothing_allowed, 20, NOW + timedelta(seconds=at))
        for at in (0, 0.9, 1, 1.9, 2, 3)
    ] == [
        *(0, 0, 1),
        *(1, 1, 2),
    ]


def test_a_clock_that_was_ahead_holds_nothing_up() -> None:
    ahead = ParallelLimit(0, NOW + timedelta(hours=1))
    assert current_limit(ahead, 20, NOW) == 20
    assert after_refusal(ahead, 20, running=8, sent_at=NOW, now=NOW) == ParallelLimit(10, NOW)
