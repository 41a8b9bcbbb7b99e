"""The least that one accepted and forwarded message can cost here: one commit and one POST.

Run as a program (by itself, see `_receiver`) it is the server that the POSTs go to.
"""

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final

import aiohttp
import asyncpg
import uvicorn

BODY: Final = b"x" * 1000  # 1 kB, as in every row of the benchmark


async def minimum_cost(database_url: str, samples: int, rate: float) -> list[float]:
    """Milliseconds of each commit + POST, one after another, begun `rate` times a second.

    The commit is one INSERT of 1 kB in a transaction of its own, as durable as the server has
    it; the POST is 1 kB over a connection kept open, to another process that answers 200.
    """
    async with (
        _receiver() as url,
        _table(database_url) as insert,
        aiohttp.ClientSession(trust_env=False) as session,
    ):

        async def once() -> None:
            await insert(BODY)
            async with session.post(url, data=BODY) as answer:
                await answer.read()
                answer.raise_for_status()

        await once()  # connects, prepares, creates the first page
        return await _paced(once, samples, rate)


async def _paced(once: Callable[[], Awaitable[None]], samples: int, rate: float) -> list[float]:
    """Each begins when its turn comes, or late if the one before took longer."""
    first = perf_counter()  # the loop's own clock counts whole milliseconds under uvloop
    spent = []
    for turn in range(samples):
        await asyncio.sleep(first + turn / rate - perf_counter())
        begun = perf_counter()
        await once()
        spent.append((perf_counter() - begun) * 1000)
    return spent


@asynccontextmanager
async def _table(database_url: str) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    """A table of this run's own; gives what inserts a row into it and commits."""
    name = f"bench_floor_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            f"CREATE TABLE {name} (id bigserial PRIMARY KEY, body bytea NOT NULL)"
        )
        statement = await connection.prepare(f"INSERT INTO {name} (body) VALUES ($1)")  # noqa: S608 - our own name
        yield statement.fetch
    finally:
        await connection.execute(f"DROP TABLE IF EXISTS {name}")
        await connection.close()


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    """The server below in a process of its own; its socket is open before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        port = listening.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", __file__, str(number), pass_fds=[number]
        )
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()


async def _answer(
    _scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


def _serve(number: int) -> None:
    config = uvicorn.Config(
        _answer,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="error",
        access_log=False,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=number)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
