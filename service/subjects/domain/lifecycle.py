"""A subject's life: every state, every signal, and what each pair comes to. Nothing else decides.

Three rules hold the table together, and tests hold the table to them: every pair is written out,
a terminal state has no way out, and no move lowers the rank.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a subject is. The comment says who moves it on."""

    QUEUED = "queued"  # a worker with a free slot claims it
    SUBMITTING = "submitting"  # claimed under a lease: the worker's answer, or the lease's end
    UNCONFIRMED = "unconfirmed"  # sent, the answer was lost: a look-up by our id
    SUBMITTED = "submitted"  # the provider has it: its callback, or our look-up
    PROCESSING = "processing"  # the provider works on it: the same
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Signal(StrEnum):
    """What can be learnt about a subject, from anyone."""

    CLAIMED = "claimed"  # a worker took it from the queue
    DEFERRED = "deferred"  # the provider has not got it and says: later
    LOST = "lost"  # it may have been sent, and nobody knows: no answer, or a lapsed lease
    ABSENT = "absent"  # looked up, and the provider has no such task
    REFUSED = "refused"  # it will never be taken: by the provider, or by a check of ours
    SUBMITTED = "submitted"  # the provider says so, by answer, callback or look-up
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCEL = "cancel"  # its caller wants it no more
    DEADLINE = "deadline"  # its time is up


class Ignored(StrEnum):
    """Why a signal changes nothing."""

    REPEATED = "repeated"  # known already
    LATE = "late"  # overtaken by newer news
    ANOMALY = "anomaly"  # contradicts what is known: recorded and counted, never applied
    DENIED = "denied"  # a wish that can no longer be met


Decision = State | Ignored

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED})

# Holding one of the provider's parallel places: from the claim to the end.
WITH_PROVIDER = frozenset({State.SUBMITTING, State.UNCONFIRMED, State.SUBMITTED, State.PROCESSING})

# The provider has taken these, and will tell what is next.
CALLED_BACK = frozenset({State.SUBMITTED, State.PROCESSING})

# The three of rank 0 are one place for the world: not yet known to be with the provider. Moves
# between them make no event; each move to a higher rank makes exactly one.
RANK: dict[State, int] = {
    State.QUEUED: 0,
    State.SUBMITTING: 0,
    State.UNCONFIRMED: 0,
    State.SUBMITTED: 1,
    State.PROCESSING: 2,
    State.SUCCEEDED: 3,
    State.FAILED: 3,
    State.CANCELED: 3,
}

TABLE: dict[State, dict[Signal, Decision]] = {
    State.QUEUED: {
        Signal.CLAIMED: State.SUBMITTING,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        Signal.ABSENT: Ignored.REPEATED,
        Signal.REFUSED: State.FAILED,
        # Back in the queue after a look-up found nothing, and yet the provider has it: it wins.
        Signal.SUBMITTED: State.SUBMITTED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: State.CANCELED,
        Signal.DEADLINE: State.FAILED,
    },
    State.SUBMITTING: {
        Signal.CLAIMED: Ignored.REPEATED,
        Signal.DEFERRED: State.QUEUED,
        Signal.LOST: State.UNCONFIRMED,
        Signal.ABSENT: Ignored.LATE,
        Signal.REFUSED: State.FAILED,
        # A callback may overtake the answer to our own create call: it wins.
        Signal.SUBMITTED: State.SUBMITTED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
    },
    State.UNCONFIRMED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.REPEATED,
        Signal.ABSENT: State.QUEUED,
        Signal.REFUSED: State.FAILED,
        Signal.SUBMITTED: State.SUBMITTED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
    },
    State.SUBMITTED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        # The provider took it and now knows nothing of it: a look-up that must be wrong.
        Signal.ABSENT: Ignored.ANOMALY,
        Signal.REFUSED: Ignored.ANOMALY,
        Signal.SUBMITTED: Ignored.REPEATED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
    },
    State.PROCESSING: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        Signal.ABSENT: Ignored.ANOMALY,
        Signal.REFUSED: Ignored.ANOMALY,
        Signal.SUBMITTED: Ignored.LATE,
        Signal.PROCESSING: Ignored.REPEATED,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
    },
    State.SUCCEEDED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        Signal.ABSENT: Ignored.LATE,  # results expire at the provider after 30 days
        Signal.REFUSED: Ignored.ANOMALY,
        Signal.SUBMITTED: Ignored.LATE,
        Signal.PROCESSING: Ignored.LATE,
        Signal.SUCCEEDED: Ignored.REPEATED,
        Signal.FAILED: Ignored.ANOMALY,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: Ignored.LATE,
    },
    State.FAILED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        Signal.ABSENT: Ignored.LATE,
        Signal.REFUSED: Ignored.REPEATED,
        Signal.SUBMITTED: Ignored.LATE,
        Signal.PROCESSING: Ignored.LATE,
        Signal.SUCCEEDED: Ignored.ANOMALY,
        Signal.FAILED: Ignored.REPEATED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: Ignored.LATE,
    },
    State.CANCELED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        Signal.ABSENT: Ignored.LATE,
        Signal.REFUSED: Ignored.LATE,
        # Canceled in our queue, and yet the provider has it: somebody should look.
        Signal.SUBMITTED: Ignored.ANOMALY,
        Signal.PROCESSING: Ignored.ANOMALY,
        Signal.SUCCEEDED: Ignored.ANOMALY,
        Signal.FAILED: Ignored.ANOMALY,
        Signal.CANCEL: Ignored.REPEATED,
        Signal.DEADLINE: Ignored.LATE,
    },
}


def decide(state: State, signal: Signal) -> Decision:
    """The state it moves to, or why it stays."""
    return TABLE[state][signal]


def makes_event(before: State, after: State) -> bool:
    """Whether the world hears of this move: it does when the rank rises."""
    return RANK[after] > RANK[before]
