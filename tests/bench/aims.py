"""What the figures are to reach, and how one is printed beside that. A figure that does not reach
its aim fails nothing: machines differ, and a run on a busy one says little."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound of a figure; it is met on the bound too."""

    bound: float
    is_least: bool  # the figure is to be so much at least; else at most

    def __str__(self) -> str:
        return f"{'>=' if self.is_least else '<='} {self.bound:g}"

    def met(self, figure: float) -> bool:
        return figure >= self.bound if self.is_least else figure <= self.bound


def least(bound: float) -> Aim:
    return Aim(bound, is_least=True)


def most(bound: float) -> Aim:
    return Aim(bound, is_least=False)


# Of a rate in the same run, if nothing else is said.
INGEST = least(0.36)  # of one that only verifies
INGEST_WEB = most(80)  # microseconds of CPU a callback, of the web process
INGEST_POSTGRES = most(60)  # the same of Postgres
SPIN = 36  # milliseconds of cpu.spin() on the machine that microseconds were aimed at on
METRICS = most(1.03)  # times the CPU of a callback without them
CALLBACK_TO_SUBSCRIBER = most(3)  # times the median of one commit and one POST
DELIVERIES = least(0.45)  # of a loop that only posts, to one receiver and to several
FAIRNESS = most(1.1)  # times the p99 of the others without one that hangs
READ = least(0.45)  # of a bare handler
ACCEPT_BY_URL = least(0.25)  # the same
FINISHED_SUBJECTS = most(1.25)  # times as long for a callback with a million of them
SNAPSHOT = most(1.25)  # times as long with a million of them
AUDIT = most(60)  # seconds, of ten million events
BACKLOG = most(1.25)  # times as long for a delivery with 100,000 that are due
TEN_MILLION_EVENTS = most(1.5)  # times as long with them in the tables


WHILE_PRUNING = least(0.9)  # of the rate while nothing is pruned
GROWN = most(1.1)  # times the size, once all of it was pruned and as much made again


def judged(figure: float, aim: Aim) -> str:
    """The figure with its aim, as every row prints it."""
    digits = 0 if aim.bound >= 10 else 2
    return f"{figure:.{digits}f} (aim: {aim}): {'met' if aim.met(figure) else 'NOT met'}"
