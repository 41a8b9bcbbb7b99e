"""Usage: how many subjects ended on a day, and what the provider deducted for them."""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a request, as usage counts it: each in one."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    # It broke a rule, or its media were found bad: before the provider was asked.
    REFUSED = "refused"
