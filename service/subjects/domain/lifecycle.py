"""The state machine of a subject: every state, every signal, and what each pair comes to. Nothing
else decides on a state.

Three rules hold the table together, and tests hold the table to them: every pair is written out,
a terminal state has no way out, and no move lowers the rank.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a subject is. The comment says what moves it on."""

    QUEUED = "queued"  # a worker claims it, once the provider has a slot free
    # Claimed under a lease: the provider's answer, or the end of the lease.
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"  # it may have been sent, nobody knows: a poll by our id
    SUBMITTED = "submitted"  # the provider has it: its callback, or our poll
    PROCESSING = "processing"  # the provider works on it: its callback, or our poll
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Signal(StrEnum):
    """What can be learnt about a subject: by an answer, a callback, a poll, a caller, the clock."""

    CLAIMED = "claimed"  # a worker took it from the queue
    DEFERRED = "deferred"  # the provider did not take it, and says to retry later
    LOST = "lost"  # it may have been sent, and nobody knows: no answer, or an expired lease
    ABSENT = "absent"  # polled, and the provider has no such task
    REFUSED = "refused"  # it will never be taken: by the provider, or by a check of ours
    SUBMITTED = "submitted"  # the provider says so, by answer, callback or poll
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCEL = "cancel"  # a caller cancels it
    DEADLINE = "deadline"  # it has not ended by its deadline
    RESTORED = "restored"  # the database went back in time: it may have been sent since then


class Ignored(StrEnum):
    """Why a signal changes nothing."""

    REPEATED = "repeated"  # it says what is known already
    LATE = "late"  # it comes after a newer signal
    ANOMALY = "anomaly"  # contradicts what is known: recorded and counted, never applied
    DENIED = "denied"  # a cancel that comes after the submission has begun


Decision = State | Ignored

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED})

# These count towards the provider's parallel limit: from the claim to the end.
WITH_PROVIDER = frozenset({State.SUBMITTING, State.UNCONFIRMED, State.SUBMITTED, State.PROCESSING})

# The provider is polled about these: it has them, or may have them.
POLLED = WITH_PROVIDER - {State.SUBMITTING}

# The provider has accepted these, and will call back.
CALLED_BACK = frozenset({State.SUBMITTED, State.PROCESSING})

# The states of rank 0 look alike to callers: not known to be with the provider. A move between them
# makes no event; each move to a higher rank makes exactly one.
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
        # Back in the queue after a poll found nothing, and yet the provider has it: it wins.
        Signal.SUBMITTED: State.SUBMITTED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: State.CANCELED,
        Signal.DEADLINE: State.FAILED,
        Signal.RESTORED: State.UNCONFIRMED,
    },
    State.SUBMITTING: {
        Signal.CLAIMED: Ignored.REPEATED,
        Signal.DEFERRED: State.QUEUED,
        Signal.LOST: State.UNCONFIRMED,
        Signal.ABSENT: Ignored.LATE,
        Signal.REFUSED: State.FAILED,
        # A callback may overtake the answer to our own create call: the callback wins.
        Signal.SUBMITTED: State.SUBMITTED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
        Signal.RESTORED: State.UNCONFIRMED,
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
        Signal.RESTORED: Ignored.REPEATED,
    },
    State.SUBMITTED: {
        Signal.CLAIMED: Ignored.LATE,
        Signal.DEFERRED: Ignored.LATE,
        Signal.LOST: Ignored.LATE,
        # The provider accepted it and now has no such task: a poll that must be wrong.
        Signal.ABSENT: Ignored.ANOMALY,
        Signal.REFUSED: Ignored.ANOMALY,
        Signal.SUBMITTED: Ignored.REPEATED,
        Signal.PROCESSING: State.PROCESSING,
        Signal.SUCCEEDED: State.SUCCEEDED,
        Signal.FAILED: State.FAILED,
        Signal.CANCEL: Ignored.DENIED,
        Signal.DEADLINE: State.FAILED,
        Signal.RESTORED: Ignored.LATE,
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
        Signal.RESTORED: Ignored.LATE,
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
        Signal.RESTORED: Ignored.LATE,
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
        Signal.RESTORED: Ignored.LATE,
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
        Signal.RESTORED: Ignored.LATE,
    },
}


def decide(state: State, signal: Signal) -> Decision:
    """The state that a signal moves a subject to, or why it is ignored."""
    return TABLE[state][signal]


def makes_event(before: State, after: State) -> bool:
    """Whether a move makes an event for subscribers: it does when the rank rises."""
    return RANK[after] > RANK[before]
