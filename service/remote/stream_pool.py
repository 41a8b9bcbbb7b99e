"""Connections kept for each server and who we are to it, shared by whoever publishes there."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from service.remote.stream_connection import (
    ConnectionClosed,
    ServerRefusal,
    StreamConnection,
    StreamServer,
)


class _PooledConnection:
    """A connection that is there or is being made, and how many use it."""

    def __init__(self, server: StreamServer, opening: asyncio.Future[StreamConnection]) -> None:
        self.server = server
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
        connection = self.opening.result()
        return connection.broken is None and not connection.spent

    async def connect(self) -> StreamConnection:
        """When it is there. Whatever ended the opening, else."""
        if not self.opening.done():
            await asyncio.wait([self.opening])
        if self.opening.cancelled():
            raise ConnectionClosed
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
        self.opening.result().end(ConnectionClosed())


class StreamPool:
    """A connection is never mended: what something went wrong with ends when its last user is
    done, and the next one gets a new one."""

    def __init__(
        self,
        dial: Callable[[StreamServer], Awaitable[StreamConnection]],
        idle_seconds: float,
        most_kept: int,
    ) -> None:
        self._dial = dial
        self._idle_seconds = idle_seconds
        self._most_kept = most_kept
        self._kept: dict[StreamServer, _PooledConnection] = {}  # the one used last stands last
        self._all: set[_PooledConnection] = set()  # those too that only their users still know
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection; there are no new ones after this."""
        self._closed = True
        everything = list(self._all)
        for kept in everything:
            self._drop(kept)
        await asyncio.gather(*(kept.opening for kept in everything), return_exceptions=True)

    @contextmanager
    def use(self, server: StreamServer) -> Iterator[_PooledConnection]:
        """The connection to this place. Ended, once all are closed."""
        kept = self._kept_for(server)
        kept.users += 1
        kept.stay()
        try:
            yield kept
        except (ServerRefusal, ValueError):  # of what was to be published, not of the connection
            raise
        except BaseException:
            kept.spent = True
            raise
        finally:
            kept.users -= 1
            if not kept.users:
                self._leave(kept)

    def _kept_for(self, server: StreamServer) -> _PooledConnection:
        if self._closed:
            raise ConnectionClosed
        kept = self._kept.pop(server, None)
        if kept is None or not kept.usable:
            if kept is not None and not kept.users:
                self._drop(kept)
            self._make_room()
            kept = _PooledConnection(server, asyncio.ensure_future(self._dial(server)))
            self._all.add(kept)
        self._kept[server] = kept
        return kept

    def _make_room(self) -> None:
        """Those in use are as many as there are attempts at once; of the others, close the one
        unused for longest."""
        if len(self._kept) >= self._most_kept:
            unused = next((one for one in self._kept.values() if not one.users), None)
            if unused is not None:
                self._drop(unused)

    def _leave(self, kept: _PooledConnection) -> None:
        """Nobody uses it now: keep it for a while, if somebody would use it again."""
        if self._idle_seconds and kept.usable and self._kept.get(kept.server) is kept:
            loop = asyncio.get_running_loop()
            kept.stay(loop.call_later(self._idle_seconds, self._drop, kept))
        else:
            self._drop(kept)

    def _drop(self, kept: _PooledConnection) -> None:
        kept.close()
        self._all.discard(kept)
        if self._kept.get(kept.server) is kept:
            del self._kept[kept.server]
