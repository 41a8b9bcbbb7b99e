"""What may be done by few at a time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.core.errors import Unavailable

MOST_TRIALS = 4  # tests of subscribers, in one process: enough for people, too few for a flood
MOST_TRIALS_OF_ACCOUNT = 2  # one may take half a minute: so the others have places left


class Few:
    """At most so many are inside at once, and so many of one account."""

    def __init__(self, most: int, most_of_account: int) -> None:
        self._left = most
        self._most_of_account = most_of_account
        self._inside: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """How many are."""
        return self._inside.total()

    @contextmanager
    def place(self, account_id: str) -> Iterator[None]:
        """Be inside; Unavailable for who comes beyond."""
        if not self._left or self._inside[account_id] >= self._most_of_account:
            raise Unavailable("Too many of these are under way; try again in a moment.")
        self._left -= 1
        self._inside[account_id] += 1
        try:
            yield
        finally:
            self._left += 1
            self._inside[account_id] -= 1
            if not self._inside[account_id]:
                del self._inside[account_id]
