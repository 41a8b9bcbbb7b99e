"""How surely a median is known."""

from collections.abc import Sequence
from math import comb

MISSED = 0.05  # how often, at most, such an interval does not have the true median in it


def of_median(figures: Sequence[float]) -> tuple[float, float] | None:
    """An interval that has the true median in it, whatever the figures' distribution is: by the
    sign test. None if there are too few of them for any."""
    count = len(figures)
    outside = 0  # figures at each end that the interval leaves out, and the one that it ends with
    missed = 0.5**count * 2
    while missed <= MISSED:
        outside += 1
        missed += 2 * comb(count, outside) * 0.5**count
    if not outside:
        return None
    ordered = sorted(figures)
    return ordered[outside - 1], ordered[-outside]
