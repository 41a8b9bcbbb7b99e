"""The metrics of one process: its registry, how they are named, and those of the kit's own tools.

Every metric is made once, at import, and is set wherever something happens; `/metrics` shows them.
Their labels are bounded: no account, no id, no URL is ever one.
"""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from service.kit.instruments import Counter, Histogram

PREFIX: Final = "callsheet"
# In seconds, as all that follow.
HTTP_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
SHORT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
# A duration that may be a moment or a day.
LONG_BUCKETS: Final = (
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
)  # fmt: skip

REGISTRY = CollectorRegistry()


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """A counter `callsheet_<name>_total`."""
    made = Counter(f"{PREFIX}_{name}", meaning, labels)
    REGISTRY.register(made)
    return made


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """A gauge `callsheet_<name>`."""
    return Gauge(name, meaning, labels, namespace=PREFIX, registry=REGISTRY)


def histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    """A histogram `callsheet_<name>` with these upper bounds of its buckets."""
    return _histogram(f"{PREFIX}_{name}", meaning, labels, buckets)


def _histogram(
    name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]
) -> Histogram:
    made = Histogram(name, meaning, labels, buckets=buckets)
    REGISTRY.register(made)
    return made


EVENT_LOOP_LAG = histogram(
    "event_loop_lag_seconds",
    "How much later than it was due a timer of this process ran, in seconds.",
    buckets=SHORT_BUCKETS,
)
POOL_WAIT = histogram(
    "pool_wait_seconds",
    "How long work waited for a connection to Postgres where all of this process were in use, in "
    "seconds.",
    buckets=SHORT_BUCKETS,
)
BATCH_ITEMS = histogram(
    "batch_items",
    "How many items that arrived together this process wrote, or looked up, together.",
    "batcher",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
# Name, labels and buckets are those of OpenTelemetry's stable conventions for HTTP.
HTTP_REQUEST_DURATION = _histogram(
    "http_server_request_duration_seconds",
    "How long this process took to answer a request, in seconds; streams and long polls are left "
    "out.",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=HTTP_BUCKETS,
)
REQUESTS_REFUSED = counter(
    "requests_refused",
    "Requests, and items of batches, that were answered with an error, by its code.",
    "code",
)
LISTEN_RECONNECTS = counter(
    "listen_reconnects",
    "How often this process began to listen again for the notifications of a channel, after the "
    "connection was lost.",
    "channel",
)
LISTEN_AGE = gauge(
    "listen_age_seconds",
    "How long ago this process last heard on the connection that listens to a channel, be it a "
    "notification or the answer to its own check, in seconds.",
    "channel",
)
LISTEN_LAST_NOTICE = gauge(
    "listen_last_notice_timestamp_seconds",
    "When this process was last notified on a channel, in seconds since 1970; 0: never yet.",
    "channel",
)
