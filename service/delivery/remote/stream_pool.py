"""A pool of connections to streams: one for each server and credentials, shared by publishes."""

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
        self.draining = False
        self.idle_timer: asyncio.TimerHandle | None = None
        # Else asyncio would log an error that nobody was left to retrieve.
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def usable(self) -> bool:
        """Whether something new may be published over it."""
        if self.draining or not self.opening.done():
            return not self.draining
        if self.opening.cancelled() or self.opening.exception() is not None:
            return False
        connection = self.opening.result()
        return connection.closed_by is None and not connection.draining

    async def connect(self) -> StreamConnection:
        """The connection, once it is open; or the error that ended its opening."""
        if not self.opening.done():
            await asyncio.wait([self.opening])
        if self.opening.cancelled():
            raise ConnectionClosed
        return self.opening.result()

    def set_idle_timer(self, timer: asyncio.TimerHandle | None = None) -> None:
        """Replace the timer that closes it; None keeps it open."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        self.idle_timer = timer

    def close(self) -> None:
        """Close it, or give its opening up."""
        self.draining = True
        self.set_idle_timer()
        if self.opening.cancel() or self.opening.cancelled() or self.opening.exception():
            return
        self.opening.result().close(ConnectionClosed())


class StreamPool:
    """Keeps connections open between publishes.

    A connection is never mended: one that failed is closed when its last user is done, and the next
    user gets a new one.
    """

    def __init__(
        self,
        dial: Callable[[StreamServer], Awaitable[StreamConnection]],
        idle_seconds: float,
        max_connections: int,
    ) -> None:
        self._dial = dial
        self._idle_seconds = idle_seconds
        self._max_connections = max_connections
        self._pooled: dict[StreamServer, _PooledConnection] = {}  # the least recently used first
        self._open: set[_PooledConnection] = set()  # also those that are not given out any more
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection, and open no more."""
        self._closed = True
        connections = list(self._open)
        for pooled in connections:
            self._remove(pooled)
        await asyncio.gather(*(pooled.opening for pooled in connections), return_exceptions=True)

    @contextmanager
    def use(self, server: StreamServer) -> Iterator[_PooledConnection]:
        """The connection to this server, new or shared, for the length of a `with` block.
        ConnectionClosed once the pool is closed."""
        pooled = self._acquire(server)
        pooled.users += 1
        pooled.set_idle_timer()
        try:
            yield pooled
        except (ServerRefusal, ValueError):  # the message is at fault, not the connection
            raise
        except BaseException:
            pooled.draining = True
            raise
        finally:
            pooled.users -= 1
            if not pooled.users:
                self._release(pooled)

    def _acquire(self, server: StreamServer) -> _PooledConnection:
        if self._closed:
            raise ConnectionClosed
        pooled = self._pooled.pop(server, None)
        if pooled is None or not pooled.usable:
            if pooled is not None and not pooled.users:
                self._remove(pooled)
            self._evict()
            pooled = _PooledConnection(server, asyncio.ensure_future(self._dial(server)))
            self._open.add(pooled)
        self._pooled[server] = pooled
        return pooled

    def _evict(self) -> None:
        """Close the least recently used connection, if the pool is full. Those in use stay: there
        are as many as attempts at once."""
        if len(self._pooled) >= self._max_connections:
            unused = next((pooled for pooled in self._pooled.values() if not pooled.users), None)
            if unused is not None:
                self._remove(unused)

    def _release(self, pooled: _PooledConnection) -> None:
        """Keep a connection that nobody uses any more for a while, if it can be used again."""
        if self._idle_seconds and pooled.usable and self._pooled.get(pooled.server) is pooled:
            loop = asyncio.get_running_loop()
            pooled.set_idle_timer(loop.call_later(self._idle_seconds, self._remove, pooled))
        else:
            self._remove(pooled)

    def _remove(self, pooled: _PooledConnection) -> None:
        pooled.close()
        self._open.discard(pooled)
        if self._pooled.get(pooled.server) is pooled:
            del self._pooled[pooled.server]
