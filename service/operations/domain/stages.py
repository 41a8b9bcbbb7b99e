"""The stages in which something may wait: what `/metrics` tells the oldest of (promise 12)."""

from enum import StrEnum


class Stage(StrEnum):
    """Where subjects, deliveries and erasures wait; also what is throttled, paused or held."""

    MEDIA_CHECK = "media_check"  # queued subjects whose media are not checked yet
    QUEUED = "queued"  # subjects that may be submitted, however often they were tried
    SUBMITTING = "submitting"  # subjects that a worker is sending
    UNCONFIRMED = "unconfirmed"  # subjects whose answer was lost
    WITH_PROVIDER = "with_provider"  # subjects that the provider took and has not ended
    POLL_DUE = "poll_due"  # subjects about which the provider is to be asked now
    DELIVERY_DUE = "delivery_due"  # deliveries whose next attempt is due now
    DELIVERY_RETRYING = "delivery_retrying"  # deliveries that failed and are to be tried again
    ERASURE_DUE = "erasure_due"  # deletions at the provider that are to be tried now, or stopped
