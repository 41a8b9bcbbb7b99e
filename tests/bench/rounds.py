"""Several ways to do a piece of work, measured in turn, as the machine's speed drifts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench import cpu

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement gave."""

    rate: float  # items per second
    cpu: cpu.Usage  # microseconds for each item
    latencies: Sequence[float] = ()  # milliseconds


Rounds = Sequence[Measured]  # of one way


def in_turn(ways: Mapping[str, Callable[[], Measured]], turns: int = ROUNDS) -> dict[str, Rounds]:
    """Every second round goes backwards, so that a steady drift is nobody's advantage."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for number in range(turns):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            found[name].append(ways[name]())
    return dict(found)


def rate(rounds: Rounds) -> float:
    return median(measured.rate for measured in rounds)


def ratio(some: Rounds, base: Rounds) -> float:
    """Of the rates: the median over the rounds of that in each."""
    return median(measured.rate / other.rate for measured, other in zip(some, base, strict=True))


def spent(rounds: Rounds) -> cpu.Usage:
    """The median over the rounds, by process."""
    names = rounds[0].cpu
    return {name: median(measured.cpu[name] for measured in rounds) for name in names}


def cpu_column(rounds: Rounds) -> str:
    """The same in words, such as `web 80, Postgres 60`: for a column headed CPU_HEAD."""
    return cpu.shown(spent(rounds))


CPU_HEAD = "   CPU µs each"
