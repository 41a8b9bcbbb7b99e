"""What came of a poll: a label of metrics."""

from enum import StrEnum


class PollOutcome(StrEnum):
    """What asking the provider about a subject came to."""

    ENDED = "ended"  # the subject's end was learnt by it: no callback had told of it
    MOVED = "moved"  # the subject moved, and has not ended
    UNCHANGED = "unchanged"  # the provider said nothing new
    NOT_FOUND = "not_found"  # the provider has no such task
    NO_ANSWER = "no_answer"  # the provider did not answer, or nobody can read what it did
