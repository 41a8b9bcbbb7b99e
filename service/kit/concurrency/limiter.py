"""A limiter: how many may do a thing at once, in all and of one account."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.kit.errors import Unavailable


class Limiter:
    """At most `most` slots are in use at once, and `most_of_account` of one account."""

    def __init__(self, most: int, most_of_account: int) -> None:
        self._left = most
        self._most_of_account = most_of_account
        self._in_use: Counter[str] = Counter()

    @property
    def in_use(self) -> int:
        """How many slots are in use, of all accounts."""
        return self._in_use.total()

    @contextmanager
    def slot(self, account_id: str) -> Iterator[None]:
        """Use a slot while the context lasts; Unavailable if none is free."""
        if not self._left or self._in_use[account_id] >= self._most_of_account:
            raise Unavailable("Too many of these are under way; try again in a moment.")
        self._left -= 1
        self._in_use[account_id] += 1
        try:
            yield
        finally:
            self._left += 1
            self._in_use[account_id] -= 1
            if not self._in_use[account_id]:
                del self._in_use[account_id]
