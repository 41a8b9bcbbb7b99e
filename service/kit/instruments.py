"""Counters and histograms of a process with one event loop: plain numbers, read at a scrape.

Those of prometheus-client lock around each number, and walk the buckets one by one: that is five
times as long, and a callback has a handful of them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import inf
from typing import Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Distribution:
    """How many values lie between each two bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """The bounds are in rising order, and each belongs to what lies below it."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


C = TypeVar("C")


class _Instrument(Collector, Generic[C]):
    """A number for each combination of labels that was asked for; one alone without labels."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], make: Callable[[], C]
    ) -> None:
        self.name = name
        self._meaning = meaning
        self._label_names = labels
        self._make = make
        self._children: dict[tuple[str, ...], C] = {}

    def labels(self, *values: str) -> C:
        """The number of these values of the labels, in the order of their names. It is shown from
        now on: ask for each that is known at the start, so that what never happened is 0."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self._label_names):
                raise ValueError(f"{self.name} has the labels {self._label_names}, not {values}")
            child = self._children[values] = self._make()
        return child

    def describe(self) -> list[Metric]:
        """What a registry asks for, to refuse a second one of the same name."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """The family of the numbers as they are now."""
        raise NotImplementedError


class Counter(_Instrument[Count]):
    """A family of counters, `<name>_total`; `inc` is that of the one without labels."""

    inc: Callable[..., None]

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels, Count)
        if not labels:
            self.inc = self.labels().inc

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self._meaning, labels=self._label_names)
        for values, child in self._children.items():
            family.add_metric([*map(str, values)], child.value)
        yield family


class Histogram(_Instrument[Distribution]):
    """A family of histograms; `observe` is that of the one without labels."""

    observe: Callable[[float], None]

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> None:
        super().__init__(name, meaning, labels, lambda: Distribution(bounds))
        bounds = tuple(float(bound) for bound in buckets)
        self._shown_bounds = [floatToGoString(bound) for bound in (*bounds, inf)]  # type: ignore[no-untyped-call]
        if not labels:
            self.observe = self.labels().observe

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self._meaning, labels=self._label_names)
        for values, child in self._children.items():
            buckets = list(zip(self._shown_bounds, accumulate(child.counts), strict=True))
            family.add_metric([*map(str, values)], buckets, child.total)
        yield family
