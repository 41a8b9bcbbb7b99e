"""Measurements as a table of plain text."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from tests.bench.measure import Cpu, Measured

Results = Mapping[str, Sequence[Measured]]


def show(results: Results, bases: Sequence[str]) -> None:
    """A line for each name; its rate as a multiple of each base's."""
    cpu = any(one.cpu for some in results.values() for one in some)
    head = f"{'':16}{'per s':>8}" + "".join(f"{'x ' + base:>9}" for base in bases)
    print(head + f"{'p50 ms':>9}{'p99 ms':>9}" + ("   CPU µs each: web, Postgres, load" * cpu))
    for name, some in results.items():
        latencies = quantiles([ms for one in some for ms in one.driven.latencies], n=100)
        line = f"{name:16}{median(one.driven.rate for one in some):8,.0f}"
        line += "".join(f"{ratio(some, results[base]):9.2f}" for base in bases)
        print(line + f"{latencies[49]:9.1f}{latencies[98]:9.1f}" + _cpu(some))


def ratio(some: Sequence[Measured], base: Sequence[Measured]) -> float:
    """Of the rates: the median over the rounds of that in each, as the machine's speed drifts."""
    pairs = zip(some, base, strict=True)
    return median(one.driven.rate / other.driven.rate for one, other in pairs)


def _cpu(some: Sequence[Measured]) -> str:
    spent = [one.cpu for one in some if one.cpu is not None]
    if not spent:
        return ""
    middle = Cpu(
        median(one.web for one in spent),
        median(one.postgres for one in spent),
        median(one.load for one in spent),
    )
    return f"{middle.web:15.0f}{middle.postgres:10.0f}{middle.load:6.0f}"
