"""A limiter: refuses what would be too much at once, in all or of one owner; nobody waits."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.kit.errors import Unavailable


class Limiter:
    """At most `slots` are in use at once, and at most `slots_per_owner` of one owner."""

    def __init__(self, slots: int, slots_per_owner: int) -> None:
        self._slots = slots
        self._slots_per_owner = slots_per_owner
        self._in_use: Counter[str] = Counter()  # by owner; those who use none are left out

    @property
    def in_use(self) -> int:
        """How many slots are in use, of all owners."""
        return self._in_use.total()

    @contextmanager
    def slot(self, owner: str) -> Iterator[None]:
        """Use a slot while the context lasts; Unavailable if none is free."""
        if self.in_use >= self._slots or self._in_use[owner] >= self._slots_per_owner:
            raise Unavailable("Too many of these are under way. Try again in a moment.")
        self._in_use[owner] += 1
        try:
            yield
        finally:
            self._in_use[owner] -= 1
            if not self._in_use[owner]:
                del self._in_use[owner]
