"""Measurements as a table of plain text."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from tests.bench import cpu
from tests.bench.measure import Measured

Results = Mapping[str, Sequence[Measured]]


def show(results: Results, bases: Sequence[str]) -> None:
    """A line for each name; its rate as a multiple of each base's."""
    head = f"{'':16}{'per s':>8}" + "".join(f"{'x ' + base:>9}" for base in bases)
    print(head + f"{'p50 ms':>9}{'p99 ms':>9}{cpu.HEAD}")
    for name, some in results.items():
        latencies = quantiles([ms for round_ in some for ms in round_.driven.latencies], n=100)
        line = f"{name:16}{median(round_.driven.rate for round_ in some):8,.0f}"
        line += "".join(f"{ratio(some, results[base]):9.2f}" for base in bases)
        spent = cpu.shown([round_.cpu for round_ in some])
        print(f"{line}{latencies[49]:9.1f}{latencies[98]:9.1f}   {spent}")


def ratio(some: Sequence[Measured], base: Sequence[Measured]) -> float:
    """Of the rates: the median over the rounds of that in each, as the machine's speed drifts."""
    pairs = zip(some, base, strict=True)
    return median(measured.driven.rate / other.driven.rate for measured, other in pairs)
