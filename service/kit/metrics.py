"""The metrics of one process: its registry, how they are named, and those of the kit's own tools.

Every metric is made once, at import, and is set wherever something happens; `/metrics` shows them.
Their labels are bounded: no account, no id, no URL is ever one.
"""

from collections.abc import Sequence
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "callsheet"
# Seconds. Of the stable semantic conventions of OpenTelemetry for HTTP:
# `http.server.request.duration`.
HTTP_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
SHORT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
# A duration that may be a moment or a day.
LONG_BUCKETS: Final = (
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
)  # fmt: skip

REGISTRY = CollectorRegistry()
# A series `…_created` beside each other one would double them all, and nobody reads it.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """A counter `callsheet_<name>_total`."""
    return Counter(name, meaning, labels, namespace=PREFIX, registry=REGISTRY)


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """A gauge `callsheet_<name>`."""
    return Gauge(name, meaning, labels, namespace=PREFIX, registry=REGISTRY)


def histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    """A histogram `callsheet_<name>` with these upper bounds of its buckets."""
    return Histogram(name, meaning, labels, namespace=PREFIX, registry=REGISTRY, buckets=buckets)


EVENT_LOOP_LAG = histogram(
    "event_loop_lag_seconds",
    "How much later than it was due a timer of this process ran, in seconds.",
    buckets=SHORT_BUCKETS,
)
POOL_WAIT = histogram(
    "pool_wait_seconds",
    "How long this process waited for a connection to Postgres out of its pool, in seconds.",
    buckets=SHORT_BUCKETS,
)
BATCH_ITEMS = histogram(
    "batch_items",
    "How many items that arrived together this process wrote, or looked up, together.",
    "batcher",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
HTTP_REQUEST_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "How long this process took to answer a request, in seconds; streams and long polls are left "
    "out. The name and labels are those of OpenTelemetry.",
    ("http_request_method", "http_route", "http_response_status_code"),
    registry=REGISTRY,
    buckets=HTTP_BUCKETS,
)
