"""Connections kept for each server and who we are to it, shared by whoever publishes there."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from service.remote.links import Ended, Link, Place, Refusal


class _Kept:
    """A connection that is there or is being made, and how many use it."""

    def __init__(self, place: Place, opening: asyncio.Future[Link]) -> None:
        self.place = place
        self.opening = opening
        self.users = 0
        self.spent = False
        self.idle: asyncio.TimerHandle | None = None
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen

    @property
    def usable(self) -> bool:
        if self.spent or not self.opening.done():
            return not self.spent
        if self.opening.cancelled() or self.opening.exception() is not None:
            return False
        link = self.opening.result()
        return link.broken is None and not link.spent

    async def link(self) -> Link:
        """When it is there. Whatever ended the opening, else."""
        if not self.opening.done():
            await asyncio.wait([self.opening])
        if self.opening.cancelled():
            raise Ended
        return self.opening.result()

    def stay(self, idle: asyncio.TimerHandle | None = None) -> None:
        """Until then, or for as long as it is used."""
        if self.idle is not None:
            self.idle.cancel()
        self.idle = idle

    def close(self) -> None:
        self.spent = True
        self.stay()
        if self.opening.cancel() or self.opening.cancelled() or self.opening.exception():
            return
        self.opening.result().end(Ended())


class Pool:
    """A connection is never mended: what something went wrong with ends when its last user is
    done, and the next one gets a new one."""

    def __init__(
        self, dial: Callable[[Place], Awaitable[Link]], idle_seconds: float, most_kept: int
    ) -> None:
        self._dial = dial
        self._idle_seconds = idle_seconds
        self._most_kept = most_kept
        self._kept: dict[Place, _Kept] = {}  # the one used last stands last
        self._all: set[_Kept] = set()  # those too that only their users still know
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection; there are no new ones after this."""
        self._closed = True
        everything = list(self._all)
        for kept in everything:
            self._drop(kept)
        await asyncio.gather(*(kept.opening for kept in everything), return_exceptions=True)

    @contextmanager
    def use(self, place: Place) -> Iterator[_Kept]:
        """The connection to this place. Ended, once all are closed."""
        kept = self._kept_for(place)
        kept.users += 1
        kept.stay()
        try:
            yield kept
        except (Refusal, ValueError):  # of what was to be published, not of the connection
            raise
        except BaseException:
            kept.spent = True
            raise
        finally:
            kept.users -= 1
            if not kept.users:
                self._leave(kept)

    def _kept_for(self, place: Place) -> _Kept:
        if self._closed:
            raise Ended
        kept = self._kept.pop(place, None)
        if kept is None or not kept.usable:
            if kept is not None and not kept.users:
                self._drop(kept)
            self._make_room()
            kept = _Kept(place, asyncio.ensure_future(self._dial(place)))
            self._all.add(kept)
        self._kept[place] = kept
        return kept

    def _make_room(self) -> None:
        """Those in use are as many as there are attempts at once; of the others, close the one
        unused for longest."""
        if len(self._kept) >= self._most_kept:
            unused = next((one for one in self._kept.values() if not one.users), None)
            if unused is not None:
                self._drop(unused)

    def _leave(self, kept: _Kept) -> None:
        """Nobody uses it now: keep it for a while, if somebody would use it again."""
        if self._idle_seconds and kept.usable and self._kept.get(kept.place) is kept:
            loop = asyncio.get_running_loop()
            kept.stay(loop.call_later(self._idle_seconds, self._drop, kept))
        else:
            self._drop(kept)

    def _drop(self, kept: _Kept) -> None:
        kept.close()
        self._all.discard(kept)
        if self._kept.get(kept.place) is kept:
            del self._kept[kept.place]
