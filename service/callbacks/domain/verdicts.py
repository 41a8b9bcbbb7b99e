"""What a callback comes to: the words that are answered, kept and shown."""

from enum import StrEnum


class Verdict(StrEnum):
    """What became of a callback."""

    APPLIED = "applied"  # it moved its subject
    REPEATED = "repeated"  # a duplicate: what it says was known already
    LATE = "late"  # stale: newer news had come before it
    ANOMALY = "anomaly"  # it contradicts what is known: kept and counted, never applied
    UNKNOWN = "unknown"  # unmatched: it names no subject that is known
    MISMATCH = "mismatch"  # its body names another subject or task than its address
    PARKED = "parked"  # undetermined: nothing can be made of its status; the provider is asked
    HINT = "hint"  # unverified, and so not believed: the provider is asked
    REJECTED = "rejected"  # refused: its signature does not hold, or it cannot be read


# Nothing was made of these: a copy, or the same message verified again, may come to more.
UNDECIDED = (Verdict.UNKNOWN, Verdict.MISMATCH, Verdict.PARKED)

# What these say of a subject has been considered: saying it again is a repetition.
CONSIDERED = (Verdict.APPLIED, Verdict.LATE, Verdict.ANOMALY)
