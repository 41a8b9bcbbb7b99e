"""Measurements as a table of plain text."""

from collections.abc import Mapping, Sequence
from statistics import quantiles

from tests.bench.rounds import CPU_HEAD, Rounds, cpu_column, rate, ratio


def show(results: Mapping[str, Rounds], bases: Sequence[str]) -> None:
    """A line for each name; its rate as a multiple of each base's."""
    head = f"{'':16}{'per s':>8}" + "".join(f"{'x ' + base:>9}" for base in bases)
    print(f"{head}{'p50 ms':>9}{'p99 ms':>9}{CPU_HEAD}")
    for name, some in results.items():
        latencies = quantiles([ms for measured in some for ms in measured.latencies], n=100)
        line = f"{name:16}{rate(some):8,.0f}"
        line += "".join(f"{ratio(some, results[base]):9.2f}" for base in bases)
        print(f"{line}{latencies[49]:9.1f}{latencies[98]:9.1f}   {cpu_column(some)}")
