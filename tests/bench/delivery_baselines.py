"""What deliveries are compared with: `python -m tests.bench.delivery_baselines NAME …`.

`bare URLS COUNT` posts signed bytes with the service's own HTTP client and does no more. `plain` is
an arq worker that makes each delivery a job of its own, the plain way.
"""

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any, cast

import aiohttp
import httpx
import uvloop
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.kit.crypto import webhook_signatures
from service.schema.deliveries import attempts, deliveries
from service.schema.events import events
from service.schema.subscribers import subscribers
from service.wiring import utc_now

IN_FLIGHT = 64
KEY = b"k" * 32
QUEUE = "plain"


async def bare(urls: list[str], count: int, body: bytes) -> None:
    """As many in flight as the service has, each signed as its deliveries are."""
    numbers = iter(range(count))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=IN_FLIGHT),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:

        async def post() -> None:
            for number in numbers:
                at = int(utc_now().timestamp())
                signed = webhook_signatures.signature_headers([KEY], f"evt_{number}", at, body)
                headers = signed | {"content-type": "application/json"}
                url = urls[number % len(urls)]
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(post())


class Plain:
    """Each delivery a job: read what to send, send it with a client of its own, write what came."""

    def __init__(self) -> None:
        url = os.environ["CALLSHEET_DATABASE_URL"].partition("://")[2]
        self._engine: AsyncEngine = create_async_engine(f"postgresql+asyncpg://{url}", pool_size=20)

    async def deliver(self, _context: dict[str, Any], delivery_id: str) -> None:
        async with self._engine.begin() as tx:
            found = select(events.c.id, events.c.body, subscribers.c.url).where(
                deliveries.c.id == delivery_id,
                events.c.id == deliveries.c.event_id,
                subscribers.c.id == deliveries.c.subscriber_id,
            )
            event_id, body, url = (await tx.execute(found)).one()
        now = utc_now()
        signed = webhook_signatures.signature_headers([KEY], event_id, int(now.timestamp()), body)
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.post(
                url, content=body, headers=signed | {"content-type": "application/json"}
            )
        async with self._engine.begin() as tx:
            await tx.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id)
                .values(state="delivered", attempts=1, due_at=None, finished_at=utc_now())
            )
            await tx.execute(
                insert(attempts).values(
                    delivery_id=delivery_id,
                    number=1,
                    started_at=now,
                    status=answer.status_code,
                    latency_ms=(utc_now() - now) / timedelta(milliseconds=1),
                    response_body=answer.content,
                    delivered=answer.is_success,
                )
            )


def _redis() -> RedisSettings:
    return RedisSettings.from_dsn(os.environ["CALLSHEET_REDIS_URL"])


async def enqueue(redis_url: str, ids: list[str]) -> None:
    """A job for each of these deliveries."""
    pool = await create_pool(RedisSettings.from_dsn(redis_url), default_queue_name=QUEUE)
    for id_ in ids:
        await pool.enqueue_job("deliver", id_)
    await pool.aclose()


async def plain() -> None:
    pool: ArqRedis = await create_pool(_redis(), default_queue_name=QUEUE)
    worker = Worker(
        [func(cast("Any", Plain().deliver), name="deliver", keep_result=0)],
        queue_name=QUEUE,
        redis_pool=pool,
        max_jobs=IN_FLIGHT,
        poll_delay=0.02,
        handle_signals=False,
        burst=True,
    )
    await worker.async_run()


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        uvloop.run(plain())
    else:
        _, _, urls, count, body = sys.argv
        uvloop.run(bare(json.loads(urls), int(count), body.encode()))
