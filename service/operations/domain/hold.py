"""Holds: what an operator has stopped, why, and until when."""

from enum import StrEnum


class HoldTarget(StrEnum):
    """What a hold stops."""

    INTAKE = "intake"  # new requests are refused; those that were accepted go on
    SUBMISSIONS = "submissions"  # queued subjects stay queued
    DELIVERIES = "deliveries"  # no attempt is begun, and none is spent
