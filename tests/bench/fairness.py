"""What a subscriber that hangs costs those that are well: how long their deliveries take with it
and without it, in turn, as often as it takes to tell."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from typing import Any

import aiohttp
import uvloop

from service.local.stack import Stack, stack
from tests.bench import aims
from tests.bench.database import connected
from tests.bench.intervals import of_median
from tests.bench.latency import paced, request
from tests.bench.load import Faulty
from tests.bench.receiver import Receivers, receivers

PAIRS = range(6, 21)  # of a round without and one with; fewer give no interval
LIMIT = 300.0  # seconds after which no further pair begins
HEALTHY = 50  # subscribers; our own figure
RATE = 20.0  # subjects a second: times HEALTHY deliveries
WARMING = 10  # subjects of a round that are not counted: its worker has yet to begin
COUNTED = 120
PATIENCE = 30.0  # seconds until all is delivered
INTERVAL = 0.1  # seconds between two queries
ACCOUNT = "fairness"
TYPES = ["subject.queued"]
WITHOUT, WITH = "without", "with one that hangs"
# One subject holds the provider's only place for as long as this takes: nothing but subjects being
# queued happens.
SETTINGS = {"CALLSHEET_PROVIDER_PARALLEL": "1", "CALLSHEET_POLL_AFTER": "3600"}
PROVIDER = {"fetch_media": False, "processing_after": 3600, "finished_after": 3600}
NOW = "SELECT clock_timestamp()"
WAITING = """
    SELECT count(*) FROM deliveries WHERE state = 'pending' AND subscriber_id = ANY ($1)
"""
UNDER_WAY = "SELECT count(*) FROM deliveries WHERE lease_token <> '' AND subscriber_id = $1"
DELAYS = """
    SELECT extract(epoch FROM a.started_at - d.created_at) * 1000 + a.latency_ms
    FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
    WHERE a.delivered AND d.subscriber_id = ANY ($1) AND d.created_at >= $2
"""

Delays = Mapping[str, Sequence[Sequence[float]]]


def fairness() -> None:
    """Fifty that are well, one worker, and every other time one more that never answers."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", SETTINGS, keep=False) as running,
        receivers(HEALTHY, 1) as receiving,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        delays = runner.run(_measured(running, receiving))
    _print(delays)


def _print(delays: Delays) -> None:
    print(
        f"\ndeliveries to {HEALTHY} healthy subscribers, {RATE * HEALTHY:.0f} a second, one worker;"
        f"\nmilliseconds from the event to the answer; rounds of each kind in turn\n"
        f"{'':24}{'p50':>9}{'p99':>9}   p99 of each round"
    )
    for name, rounds in delays.items():
        found = quantiles([delay for some in rounds for delay in some], n=100)
        percentiles = ", ".join(f"{_p99(some):.1f}" for some in rounds)
        print(f"{name:24}{found[49]:9.1f}{found[98]:9.1f}   {percentiles}")
    ratios = _ratios(delays)
    low, high = of_median(ratios) or (min(ratios), max(ratios))
    print(
        f"p99, times as long: {aims.judged(median(ratios), aims.FAIRNESS)}\n"
        f"  the median of {len(ratios)} pairs; with 95 % confidence {low:.2f} to {high:.2f}"
        + ("" if _is_told(ratios) else ": too wide to tell, this machine is too busy")
    )


def _ratios(delays: Delays) -> list[float]:
    """Of the p99, for each pair of rounds: how much longer with one that hangs."""
    return [
        _p99(some) / _p99(base) for some, base in zip(delays[WITH], delays[WITHOUT], strict=True)
    ]


def _is_told(ratios: Sequence[float]) -> bool:
    """Whether all of the interval meets the aim, or none of it."""
    interval = of_median(ratios)
    return interval is not None and len({aims.FAIRNESS.met(end) for end in interval}) == 1


def _p99(delays: Sequence[float]) -> float:
    return quantiles(delays, n=100)[98]


async def _measured(running: Stack, receiving: Receivers) -> Delays:
    """Milliseconds, by kind and round."""
    found: dict[str, list[list[float]]] = {WITHOUT: [], WITH: []}
    headers = {"authorization": f"Bearer {running.make_key(ACCOUNT)}"}
    async with aiohttp.ClientSession(running.base_url, headers=headers) as http:
        provider = f"{running.simulator_url}/_simulator/settings"
        async with http.post(provider, json=PROVIDER) as answer:
            answer.raise_for_status()
        await _create(http, 0)
        healthy = [await _subscribe(http, url) for url in receiving.urls]
        began = monotonic()
        for number in range(PAIRS[-1]):
            for name in list(found)[:: -1 if number % 2 else 1]:
                url = receiving.hanging[0] if name == WITH else None
                found[name].append(await _round(running, http, healthy, url))
            enough = number + 1 >= PAIRS[0] and _is_told(_ratios(found))
            if enough or monotonic() - began > LIMIT:
                break
    return found


async def _round(
    running: Stack, http: aiohttp.ClientSession, healthy: Sequence[str], hanging: str | None
) -> list[float]:
    """The delays of one round, in milliseconds; with a new worker, as the last one may still wait
    for who hangs."""
    await asyncio.to_thread(running.child("worker").restart)
    bad = await _subscribe(http, hanging) if hanging else None
    async with connected(running.env["CALLSHEET_DATABASE_URL"]) as connection:
        await _load(http, WARMING)
        await _delivered(connection, healthy)
        since: datetime = await connection.fetchval(NOW)
        await _load(http, COUNTED)
        await _delivered(connection, healthy)
        if bad is not None:
            if not await connection.fetchval(UNDER_WAY, bad):
                raise Faulty("nothing hung")
            async with http.delete(f"/v1/subscribers/{bad}") as answer:
                answer.raise_for_status()
        delays = [float(row[0]) for row in await connection.fetch(DELAYS, healthy, since)]
    if len(delays) != COUNTED * len(healthy):
        raise Faulty(f"{len(delays)} deliveries, not {COUNTED * len(healthy)}")
    return delays


async def _delivered(connection: Any, subscribers: Sequence[str]) -> None:  # noqa: ANN401 - asyncpg's, which has no types
    """Wait until nothing waits for these."""
    deadline = monotonic() + PATIENCE
    while await connection.fetchval(WAITING, subscribers):
        if monotonic() > deadline:
            raise Faulty("deliveries to the healthy ones did not end")
        await asyncio.sleep(INTERVAL)


async def _load(http: aiohttp.ClientSession, count: int) -> None:
    """So many subjects at the steady rate, and each is accepted."""
    async with asyncio.TaskGroup() as group:
        number = 0
        async for _ in paced(count, RATE):
            group.create_task(_create(http, number))
            number += 1


async def _create(http: aiohttp.ClientSession, number: int) -> None:
    async with http.post("/v1/subjects", json=request(number)) as answer:
        answer.raise_for_status()


async def _subscribe(http: aiohttp.ClientSession, url: str) -> str:
    body = {"url": url, "event_types": TYPES}
    async with http.post("/v1/subscribers", json=body) as answer:
        answer.raise_for_status()
        return str((await answer.json())["id"])
