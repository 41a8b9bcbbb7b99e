"""What the metrics of this process changed by: they are those of all tests that it ran."""

from collections import defaultdict

from service.kit.metrics import REGISTRY

Labels = tuple[str, ...]  # the values of a series' labels, in the order in which they are declared


class MetricChanges:
    """What metrics changed by since this was made."""

    def __init__(self) -> None:
        self._before = _values()

    def of(self, name: str) -> dict[Labels, float]:
        """By how much each series of this name changed, where it did. The names of counters end in
        `_total`; those of histograms in `_count` and `_sum`."""
        return {
            labels: value - self._before.get((known, labels), 0.0)
            for (known, labels), value in _values().items()
            if known in _full(name) and value != self._before.get((known, labels), 0.0)
        }


def shown(name: str) -> dict[Labels, float]:
    """The series of this name, each with its value."""
    return {labels: value for (known, labels), value in _values().items() if known in _full(name)}


def _full(name: str) -> set[str]:
    """The names that it may stand for: ours are given without their beginning."""
    return {name, f"callsheet_{name}"}


def label_values(series: str) -> dict[str, frozenset[str]]:
    """The values that each label of a series, by its whole name, is shown with."""
    found = defaultdict[str, set[str]](set)
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == series:
                for label, value in sample.labels.items():
                    found[label].add(value)
    return {label: frozenset(values) for label, values in found.items()}


def _values() -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }
