"""Verdicts: what became of a callback, in the words that are answered, stored and shown."""

from enum import StrEnum


class Verdict(StrEnum):
    """What became of a callback; the values are on the wire and in the database."""

    APPLIED = "applied"  # it moved its subject
    REPEATED = "repeated"  # a duplicate: what it reports was known already
    LATE = "late"  # stale: something newer had come before it
    ANOMALY = "anomaly"  # it contradicts what is known: stored and counted, never applied
    UNKNOWN = "unknown"  # unmatched: it names no subject that is known
    MISMATCH = "mismatch"  # its body names another subject or task than its address
    PARKED = "parked"  # undetermined: its status means nothing to us; the provider is asked
    HINT = "hint"  # unverified, and so not believed; the provider is asked
    REJECTED = "rejected"  # refused: its signature is wrong, or it cannot be read


# Nothing was made of these: a duplicate, or the same message verified again, may get another.
UNDECIDED = (Verdict.UNKNOWN, Verdict.MISMATCH, Verdict.PARKED)

# The state machine has evaluated these: a later callback that reports the same is a duplicate.
EVALUATED = (Verdict.APPLIED, Verdict.LATE, Verdict.ANOMALY)
