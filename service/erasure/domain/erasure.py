"""Erasure: what a subject held is wiped at once; what the provider made of it is deleted there if
that is asked for."""

from enum import StrEnum


class ErasureState(StrEnum):
    """How far the deletion at the provider is."""

    PENDING = "pending"  # it is tried until the provider has done it
    DONE = "done"  # the provider has deleted it, or has nothing to delete
    FAILED = "failed"  # the provider refuses, or has not answered for too long
