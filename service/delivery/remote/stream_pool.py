"""A pool of connections: one for each server and who we are to it, shared by its publishes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from service.delivery.remote.stream_connection import (
    ConnectionClosed,
    ServerRefusal,
    StreamConnection,
    StreamServer,
)


class _PooledConnection:
    """A connection that is open or being opened, and how many use it."""

    def __init__(self, server: StreamServer, opening: asyncio.Future[StreamConnection]) -> None:
        self.server = server
        self.opening = opening
        self.users = 0
        self.spent = False
        self.idle: asyncio.TimerHandle | None = None
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen

    @property
    def usable(self) -> bool:
        """Whether something new may be published over it."""
        if self.spent or not self.opening.done():
            return not self.spent
        if self.opening.cancelled() or self.opening.exception() is not None:
            return False
        connection = self.opening.result()
        return connection.broken is None and not connection.spent

    async def connect(self) -> StreamConnection:
        """The connection, once it is open; or the error that ended its opening."""
        if not self.opening.done():
            await asyncio.wait([self.opening])
        if self.opening.cancelled():
            raise ConnectionClosed
        return self.opening.result()

    def set_timer(self, idle: asyncio.TimerHandle | None = None) -> None:
        """Close it when this timer says; never, if there is none."""
        if self.idle is not None:
            self.idle.cancel()
        self.idle = idle

    def close(self) -> None:
        self.spent = True
        self.set_timer()
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
        self._pooled: dict[StreamServer, _PooledConnection] = {}  # the one used last stands last
        self._all: set[_PooledConnection] = set()  # those too that only their users still know
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection; there are no new ones after this."""
        self._closed = True
        everything = list(self._all)
        for pooled in everything:
            self._drop(pooled)
        await asyncio.gather(*(pooled.opening for pooled in everything), return_exceptions=True)

    @contextmanager
    def use(self, server: StreamServer) -> Iterator[_PooledConnection]:
        """The connection to this server, for as long as it is used. ConnectionClosed once the pool
        is closed."""
        pooled = self._pooled_for(server)
        pooled.users += 1
        pooled.set_timer()
        try:
            yield pooled
        except (ServerRefusal, ValueError):  # of what was to be published, not of the connection
            raise
        except BaseException:
            pooled.spent = True
            raise
        finally:
            pooled.users -= 1
            if not pooled.users:
                self._leave(pooled)

    def _pooled_for(self, server: StreamServer) -> _PooledConnection:
        if self._closed:
            raise ConnectionClosed
        pooled = self._pooled.pop(server, None)
        if pooled is None or not pooled.usable:
            if pooled is not None and not pooled.users:
                self._drop(pooled)
            self._make_room()
            pooled = _PooledConnection(server, asyncio.ensure_future(self._dial(server)))
            self._all.add(pooled)
        self._pooled[server] = pooled
        return pooled

    def _make_room(self) -> None:
        """Those in use are as many as there are attempts at once; of the others, close the one
        unused for longest."""
        if len(self._pooled) >= self._most_kept:
            unused = next((pooled for pooled in self._pooled.values() if not pooled.users), None)
            if unused is not None:
                self._drop(unused)

    def _leave(self, pooled: _PooledConnection) -> None:
        """Nobody uses it now: keep it for a while, if somebody would use it again."""
        if self._idle_seconds and pooled.usable and self._pooled.get(pooled.server) is pooled:
            loop = asyncio.get_running_loop()
            pooled.set_timer(loop.call_later(self._idle_seconds, self._drop, pooled))
        else:
            self._drop(pooled)

    def _drop(self, pooled: _PooledConnection) -> None:
        pooled.close()
        self._all.discard(pooled)
        if self._pooled.get(pooled.server) is pooled:
            del self._pooled[pooled.server]
