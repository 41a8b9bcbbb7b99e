"""Turns at what few may do at a time: accounts take them one after the other, each in the order of
its arrivals."""

import asyncio
from collections import deque


class FairSemaphore:
    """So many places, and who waits for one."""

    def __init__(self, places: int) -> None:
        self._free = places
        # The account whose turn is next stands first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def acquire(self, account_id: str) -> asyncio.Future[None]:
        """Done as soon as the place is this one's. Give each back, whether it was waited for or
        not."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.setdefault(account_id, deque()).append(turn)
        return turn

    def release(self, turn: asyncio.Future[None]) -> None:
        """The place, or the wish for one."""
        if turn.cancel() or turn.cancelled():
            return  # it is passed over when its turn comes
        self._free += 1
        while self._free and self._waiting:
            self._pass_on()

    def _pass_on(self) -> None:
        account_id, turns = next(iter(self._waiting.items()))
        turn = turns.popleft()
        del self._waiting[account_id]
        if turns:
            self._waiting[account_id] = turns  # behind the others
        if not turn.done():
            self._free -= 1
            turn.set_result(None)
