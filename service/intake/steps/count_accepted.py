"""Counting the subjects that are made of requests, by the door through which those came."""

from collections.abc import Iterable

from service.intake.domain.create_request import Accepted, CreateResult
from service.intake.domain.door import Door
from service.metrics import SUBJECTS_ACCEPTED

_ACCEPTED = {door: SUBJECTS_ACCEPTED.labels(door) for door in Door}


def count_accepted(door: Door, results: Iterable[CreateResult]) -> None:
    """Count the subjects that were made; not those of earlier requests that were found again."""
    _ACCEPTED[door].inc(sum(isinstance(result, Accepted) and result.created for result in results))
