"""Where a signal about a subject comes from: a label of metrics."""

from enum import StrEnum


class SignalSource(StrEnum):
    """Who learnt it."""

    SUBMIT = "submit"  # a worker, by the provider's answer to a submission
    MEDIA_CHECK = "media_check"  # a worker that fetched and checked the media
    CALLBACK = "callback"  # the provider called back
    POLL = "poll"  # a worker that asked the provider
    CANCEL = "cancel"  # a caller cancels it
    CLOCK = "clock"  # the sweep: a lease or a deadline is over
    OPERATOR = "operator"  # who says what a copied or restored database is
