"""Counters and histograms: the numbers that a scrape reads are those that were counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from service.kit import instruments
from tests.support.scrapes import read_openmetrics, read_text

BOUNDS = (0.1, 1, 2.5)


def registry_of(collector: instruments.Counter | instruments.Histogram) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def test_a_counter_without_labels_is_0_before_anything_is_counted() -> None:
    counter = instruments.Counter("things", "Things.")
    assert read_text(generate_latest(registry_of(counter)).decode()).value("things_total") == 0
    counter.inc()
    counter.inc(2)
    text = generate_openmetrics(registry_of(counter)).decode()  # type: ignore[no-untyped-call]
    assert read_openmetrics(text).value("things_total") == 3


def test_a_counter_with_labels_has_the_values_that_were_asked_for() -> None:
    counter = instruments.Counter("things", "Things.", ["kind", "size"])
    counter.labels("a", 'sm"all').inc()
    counter.labels("b", "large")
    scrape = read_text(generate_latest(registry_of(counter)).decode())
    assert scrape.value("things_total", kind="a", size='sm"all') == 1
    assert scrape.value("things_total", kind="b", size="large") == 0
    with pytest.raises(ValueError, match="kind"):
        counter.labels("a")


@given(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.1000001, 1.0, 2.0, 2.5, 3.0, 1e9])))
def test_a_histogram_shows_what_the_librarys_own_shows(values: list[float]) -> None:
    ours = instruments.Histogram("delay_seconds", "Delay.", buckets=BOUNDS)
    registry = CollectorRegistry()
    theirs = Histogram("delay_seconds", "Delay.", registry=registry, buckets=BOUNDS)
    for value in values:
        ours.observe(value)
        theirs.observe(value)
    shown = [
        line for line in generate_latest(registry_of(ours)).splitlines() if b"created" not in line
    ]
    expected = [line for line in generate_latest(registry).splitlines() if b"created" not in line]
    assert shown == expected


def test_two_of_one_name_are_refused() -> None:
    registry = registry_of(instruments.Counter("things", "Things."))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(instruments.Counter("things", "Others."))
