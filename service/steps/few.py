"""What may be done by few at a time."""

from contextlib import AbstractContextManager
from typing import Self

from service.core.errors import Unavailable

MOST_TRIALS = 4  # tests of subscribers, in one process: enough for people, too few for a flood


class Few(AbstractContextManager["Few"]):
    """At most so many are inside at once; Unavailable for who comes beyond."""

    def __init__(self, most: int) -> None:
        self._left = most

    def __enter__(self) -> Self:
        if not self._left:
            raise Unavailable("Too many of these are under way; try again in a moment.")
        self._left -= 1
        return self

    def __exit__(self, *_: object) -> None:
        self._left += 1
