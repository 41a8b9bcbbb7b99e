"""Open event streams: what each costs the web process, and how soon all have an event."""

import asyncio
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from statistics import median

from service.local.stack import Stack, stack
from tests.bench import cpu
from tests.bench.database import connected
from tests.bench.load import Faulty

STREAMS = 5_000
AT_ONCE = 100  # streams that are opened together
EVENTS = 20
IDLE = 12.0  # seconds; each stream gets a comment meanwhile
PATIENCE = 30.0  # seconds until something must have come
ACCOUNT = "streams"
MOST = 65_536  # bytes read at once
OPENED, EVENT = b"\nid: ", b"\nevent: "  # what the opening and an event have in them, each once
WRITE = """
    WITH written AS (
        INSERT INTO events
            (id, account_id, about_subscriber_id, sequence, type, body, created_at)
        SELECT 'evt_bench_' || CAST($2 AS int), $1, 'sbr_bench', $2, 'callsheet.bench',
            convert_to('{"type":"callsheet.bench","data":"' || repeat('x', 1000) || '"}', 'UTF8'),
            now()
        RETURNING account_id
    ) SELECT pg_notify('callsheet_events', account_id) FROM written
"""


def streams() -> None:
    """All of one account, in one process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", keep=False) as running,
        _many_files(),
        ExitStack() as opened,
    ):
        running.child("worker").stop()
        key = running.make_key(ACCOUNT)
        before = _resident(running)
        began = time.perf_counter()
        wires = _open(opened, running, key)
        took = time.perf_counter() - began
        bytes_per_stream = (_resident(running) - before) / STREAMS
        idle = _idle(running, wires)
        reached, spent = asyncio.run(_publish_events(running, wires))
        began = time.perf_counter()
        running.child("web").stop()
        stopped = time.perf_counter() - began
    print(f"\n{STREAMS:,} streams of one account, one web process; opened in {took:.1f} s")
    print(f"memory for each: {bytes_per_stream / 1000:.1f} kB")
    print(f"idle, with comments: {idle:.1%} of one CPU")
    print(
        f"an event of 1 kB, from its commit to the last of them: median {median(reached):.0f} ms,"
    )
    print(f"worst {max(reached):.0f} ms of {EVENTS}")
    print(f"CPU µs for each stream and event: {cpu.shown(spent)}")
    print(f"told to stop, the process has ended all of them and itself after {stopped:.1f} s")


def _open(opened: ExitStack, running: Stack, key: str) -> list[socket.socket]:
    port = int(running.base_url.rpartition(":")[2])
    request = (
        "GET /v1/events HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {key}\r\n\r\n"
    ).encode()
    wires: list[socket.socket] = []
    for _ in range(STREAMS // AT_ONCE):
        some = [
            opened.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            for _ in range(AT_ONCE)
        ]
        for wire in some:
            wire.sendall(request)
        _read_until(some, OPENED)
        wires += some
    return wires


async def _publish_events(
    running: Stack, wires: list[socket.socket]
) -> tuple[list[float], cpu.Usage]:
    """Milliseconds from each commit to the last stream; CPU for each stream and event."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    reached, before = [], _cpu(running)
    async with connected(url) as connection:
        account = await connection.fetchval("SELECT id FROM accounts WHERE name = $1", ACCOUNT)
        for number in range(1, EVENTS + 1):
            await connection.execute(WRITE, account, number)
            committed = time.perf_counter()
            _read_until(wires, EVENT)
            reached.append((time.perf_counter() - committed) * 1000)
    return reached, cpu.each(before, _cpu(running), EVENTS * len(wires))


def _idle(running: Stack, wires: list[socket.socket]) -> float:
    """The share of one CPU, while nothing happens but comments."""
    before, began = _cpu(running), time.perf_counter()
    time.sleep(IDLE)
    spent = cpu.each(before, _cpu(running), 1).get("web", 0.0) / 1e6
    share = spent / (time.perf_counter() - began)
    for wire in wires:
        if b":\n\n" not in wire.recv(MOST):
            raise Faulty("a stream without a comment")
    return share


def _read_until(wires: list[socket.socket], awaited: bytes) -> None:
    """Read each until it has that; Faulty if it ends, or it does not come."""
    deadline = time.perf_counter() + PATIENCE
    with DefaultSelector() as waiting:
        for wire in wires:
            waiting.register(wire, EVENT_READ, (wire, b""))
        left = len(wires)
        while left:
            ready = waiting.select(deadline - time.perf_counter())
            for key, _ in ready:
                wire, had = key.data
                has = had + wire.recv(MOST)
                if awaited in has:
                    waiting.unregister(wire)
                    left -= 1
                else:
                    waiting.modify(wire, EVENT_READ, (wire, has))
            if not ready or time.perf_counter() > deadline:
                raise Faulty(f"{left} of {len(wires)} streams did not receive {awaited!r}")


def _cpu(running: Stack) -> cpu.Usage:
    return cpu.usage({"web": running.child("web").pid, "Postgres": running.child("postgres").pid})


def _resident(running: Stack) -> int:
    """Bytes of memory of the web process; 0 where the system does not tell."""
    status = Path(f"/proc/{running.child('web').pid}/status")
    with suppress(FileNotFoundError):
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, STREAMS + 500)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
