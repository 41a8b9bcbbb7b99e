"""A fair semaphore: owners take turns at its slots, and each owner's tasks go in their order."""

import asyncio
from collections import deque


class FairSemaphore:
    """At most `slots` tasks at a time. An owner who has many waiting delays no other by more than
    one slot at a time."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by owner; who is next first

    def acquire(self, owner: str) -> asyncio.Future[None]:
        """A future that is done once its holder has a slot. Release each, waited for or not."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.setdefault(owner, deque()).append(turn)
        return turn

    def release(self, turn: asyncio.Future[None]) -> None:
        """Give back the slot, or stop waiting for one."""
        if turn.cancel() or turn.cancelled():
            return  # it is passed over when its turn comes
        self._free += 1
        while self._free and self._waiting:
            self._serve_next()

    def _serve_next(self) -> None:
        owner, turns = next(iter(self._waiting.items()))
        turn = turns.popleft()
        del self._waiting[owner]
        if turns:
            self._waiting[owner] = turns  # behind the others
        if not turn.done():
            self._free -= 1
            turn.set_result(None)
