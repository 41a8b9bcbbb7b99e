"""The service's metrics: what each process counts and measures by itself.

What is read from Postgres, and so is the same from every process, is in
the snapshot (operations/domain/stages.py). deploy/README.md lists all of them.
"""

import platform
from importlib.metadata import PackageNotFoundError, version

from service.kit.metrics import LONG_BUCKETS, SHORT_BUCKETS, counter, gauge, histogram

SUBJECTS_ACCEPTED = counter(
    "subjects_accepted",
    "Subjects that were made of requests, by the way the request came: api, batch, arq, or "
    "compat_api (the provider's own paths).",
    "door",
)
SUBJECT_TRANSITIONS = counter(
    "subject_transitions", "Moves of subjects from one state to another.", "from", "to"
)
SIGNALS_IGNORED = counter(
    "signals_ignored",
    "Signals about subjects that moved nothing, by where they came from and why they were ignored.",
    "source",
    "reason",
)
PROVIDER_REQUESTS = counter(
    "provider_requests", "Calls to the provider, by what came of them.", "operation", "outcome"
)
PROVIDER_REQUEST_DURATION = histogram(
    "provider_request_duration_seconds",
    "How long a call to the provider took, in seconds.",
    "operation",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
)
CALLBACKS = counter("callbacks", "Callbacks that were stored, by verdict.", "source", "verdict")
POLLS = counter("polls", "Polls of the provider for one subject, by what came of them.", "outcome")
ERASURES = counter(
    "erasures", "Deletions at the provider that have ended, by how they did.", "outcome"
)
DELIVERY_ATTEMPTS = counter(
    "delivery_attempts",
    "Attempts to deliver an event, by the type of the subscriber and what came of them.",
    "type",
    "outcome",
)
DELIVERY_ATTEMPT_DURATION = histogram(
    "delivery_attempt_duration_seconds",
    "How long an attempt to deliver an event took, in seconds.",
    "type",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
LEASES_EXPIRED = counter(
    "leases_expired",
    "Leases that ran out before their work was recorded: their worker died or was stopped.",
)
INSTALLATION_HELD = gauge(
    "installation_held",
    "1 while this process is held, and so sends and submits nothing: the database is a copy, or "
    "was restored.",
)
STREAMS = gauge("streams", "Event streams (SSE) that this process serves now.")
WAITS = counter("waits", "Requests that this process answered after a wait (long polls).")
SUBMIT_WAIT = histogram(
    "submit_wait_seconds",
    "From the acceptance of a subject until the provider took it, in seconds.",
    buckets=LONG_BUCKETS,
)
PROVIDER_TIME = histogram(
    "provider_seconds",
    "From the submission that the provider took until the subject ended here, in seconds.",
    buckets=LONG_BUCKETS,
)
DELIVERY_DELAY = histogram(
    "delivery_delay_seconds",
    "From an event until its first attempt began, or until it was delivered, in seconds; what was "
    "replayed is left out.",
    "until",
    buckets=LONG_BUCKETS,
)
CALLBACK_COMMIT = histogram(
    "callback_commit_seconds",
    "From the last byte of a callback until it was durable, in seconds.",
    buckets=SHORT_BUCKETS,
)

PRUNED = counter("pruned", "What this process has pruned by its age, by kind.", "what")


def installed_version() -> str:
    """The version of this release; empty if it is run from its sources."""
    try:
        return version("callsheet")
    except PackageNotFoundError:  # run from its sources
        return ""


BUILD_INFO = gauge("build_info", "Always 1: which release this process runs.", "version", "python")
BUILD_INFO.labels(installed_version(), platform.python_version()).set(1)
