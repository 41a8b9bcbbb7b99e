"""What a scrape of /metrics says: its families, their types and labels, and single values."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

OF_THE_FORMAT = {"le"}  # labels that no metric has by itself


@dataclass(frozen=True, slots=True)
class Scrape:
    """The families of one answer, by name: `callsheet_waits` for `callsheet_waits_total`."""

    families: Mapping[str, Metric]

    def value(self, sample: str, **labels: str) -> float:
        """The value of the one series of this name with exactly these labels."""
        (found,) = [
            each.value
            for family in self.families.values()
            for each in family.samples
            if (each.name, each.labels) == (sample, labels)
        ]
        return found

    def labels(self, name: str) -> tuple[str, ...]:
        """The names of the labels that a family's series have, in alphabetical order."""
        samples = self.families[name].samples
        return tuple(sorted({label for each in samples for label in each.labels} - OF_THE_FORMAT))


def read_text(text: str) -> Scrape:
    """A scrape in Prometheus' text format."""
    return Scrape({family.name: family for family in parse_text(text)})


def read_openmetrics(text: str) -> Scrape:
    """A scrape as OpenMetrics, which its parser holds to the format."""
    return Scrape({family.name: family for family in parse_openmetrics(text)})  # type: ignore[no-untyped-call] # it has none
