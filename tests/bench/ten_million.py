"""What a callback, a delivery, a page of the event feed and a snapshot of what waits cost with
10,000,000 events in the tables, against the same on an empty database."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice

from service.event_feed.domain.places import Position
from service.event_feed.web import cursors
from service.local.stack import Stack
from tests.bench import aims, history
from tests.bench.database import connected
from tests.bench.deliveries import SOME, Sender, delivered
from tests.bench.ingest import OTHER_ACCOUNTS, callbacks
from tests.bench.load import Faulty
from tests.bench.measure import ACCOUNT, Target, send
from tests.bench.receiver import receivers
from tests.bench.rounds import CPU_HEAD, ROUNDS, Measured, cpu_column, in_turn, rate, ratio
from tests.bench.servers import listener, second, serving, target
from tests.bench.snapshots import taking

SUBJECTS = 3_333_334  # finished, with three events each
ROOM = 30_000_000_000  # bytes of disk: what it takes, and half as much again
READER = OTHER_ACCOUNTS[0]  # whose events are delivered, and whose feed is read
PAGES = 200  # of a feed, from all over it
PAGE = 50  # events
PAGE_REQUESTS = 2_000  # of one measurement
CONNECTIONS = 16
# All pages begin behind an event of a subject's end, as then all of their events are such.
POSITIONS = """
    SELECT CAST(CAST(xid AS text) AS bigint), position FROM (
        SELECT xid, position,
            row_number() OVER (ORDER BY xid, position) AS n, count(*) OVER () AS total
        FROM events WHERE type = 'subject.succeeded'
        AND account_id = (SELECT id FROM accounts WHERE name = $1)
    ) numbered WHERE n % greatest(total / $2, 1) = 0 AND n + $3 <= total ORDER BY n LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two databases, with the names of the processes on it."""

    running: Stack
    web: str
    worker: str

    def target(self) -> Target:
        return target(self.running, self.web)


Sides = Mapping[str, Side]


def ten_million() -> None:
    """Not in the default run: it takes long to fill, and much disk."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < ROOM:
        raise Faulty(f"{free / 1e9:.0f} GB of disk are free, and {ROOM / 1e9:.0f} are needed")
    with both() as sides:
        print(f"medians of {ROUNDS} rounds in turn, of an empty database and of the full one")
        for measure in MEASURES:
            measure(sides)


@contextmanager
def both() -> Iterator[Sides]:
    """An empty database and a full one on the same server."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, name) for name in (ACCOUNT, *OTHER_ACCOUNTS)]
        url = full.env["CALLSHEET_DATABASE_URL"]
        filled = asyncio.run(history.fill(url, accounts, SUBJECTS))
        print(f"\n{SUBJECTS * 3:,} events of {SUBJECTS:,} finished subjects:\n{filled}", flush=True)
        full.add("worker-full", "worker")
        yield {
            "empty": Side(running, "web", "worker"),
            "full": Side(full, "web-full", "worker-full"),
        }


def _deliveries(sides: Sides) -> None:
    def way(side: Side) -> Callable[[], Measured]:
        sender = Sender(side.running, side.worker, READER)
        return lambda: delivered(sender, receiving, SOME)

    with receivers(1) as receiving:
        _compare("a delivery", {name: way(side) for name, side in sides.items()})


def _pages(sides: Sides) -> None:
    """Of what was delivered, on the empty one."""

    def way(side: Side) -> Callable[[], Measured]:
        requests = list(islice(cycle(asyncio.run(_page_requests(side))), PAGE_REQUESTS))
        return lambda: send(side.target(), requests, CONNECTIONS)

    _compare(f"a page of {PAGE} events", {name: way(side) for name, side in sides.items()})


async def _page_requests(side: Side) -> list[bytes]:
    key = side.running.make_key(READER)
    async with connected(side.running.env["CALLSHEET_DATABASE_URL"]) as connection:
        positions = await connection.fetch(POSITIONS, READER, PAGES, PAGE)
    shown = [cursors.shown(Position(*found), of_subject=False) for found in positions]
    return [
        f"GET /v1/events?after={cursor}&limit={PAGE} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {key}\r\n\r\n".encode()
        for cursor in shown
    ]


def _callbacks(sides: Sides) -> None:
    _compare("a callback", {name: callbacks(side.target()) for name, side in sides.items()})


def _snapshots(sides: Sides) -> None:
    _compare("a snapshot", {name: taking(side.running) for name, side in sides.items()})


def _compare(title: str, ways: Mapping[str, Callable[[], Measured]]) -> None:
    rounds = in_turn(ways)
    print(f"{title:24}{'per s':>8}{CPU_HEAD}")
    for name, some in rounds.items():
        print(f"  {name:22}{rate(some):8,.0f}   {cpu_column(some)}")
    longer = ratio(rounds["empty"], rounds["full"])
    print(f"  times as long: {aims.judged(longer, aims.TEN_MILLION_EVENTS)}", flush=True)


# The pages are of what was delivered; the callbacks and what the snapshots count leave deliveries
# that no worker is to find.
MEASURES = (_deliveries, _pages, _callbacks, _snapshots)
