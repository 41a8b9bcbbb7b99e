"""The worker: drains what is due, woken through arq, and by a timer when nobody wakes it.

An arq job says only that there may be work; what it is, and whose turn, is read from Postgres.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, cast

import structlog
from arq import Retry, create_pool, cron
from arq import Worker as ArqWorker
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import func

from service.core.errors import CallsheetError, Invalid, Unavailable
from service.core.subjects import public
from service.queue import UNREACHABLE, Work, doorbell, read_job, redis_settings
from service.settings import Settings
from service.steps import deliver, housekeeping, intake, reconcile, submit
from service.steps.drain import Drain
from service.steps.resources import Resources
from service.wiring import open_resources

log = structlog.get_logger()

LOOK_UPS = 8  # at once in one worker; the provider does not charge for them
POLL_DELAY = 0.5  # seconds between looks into Redis while no bell rings; arq's own default
RECONNECT_DELAY = 1.0  # seconds between tries while Redis is away
KEEP_RESULT = 3600  # seconds; of `create_subject` alone, for whoever enqueued it
MAX_TRIES = 100  # of `create_subject` while Postgres is away

Drains = Mapping[Work, Drain[Any]]


def make_drains(resources: Resources) -> Drains:
    """One drain for each kind of work, rung by this process's own steps too."""
    settings = resources.settings
    drains: Drains = {
        Work.SUBMIT: Drain(
            "submit",
            partial(submit.claim, resources),
            partial(submit.submit, resources),
            settings.provider_parallel,
        ),
        Work.RECONCILE: Drain(
            "reconcile",
            partial(reconcile.claim, resources),
            partial(reconcile.look_up, resources),
            LOOK_UPS,
        ),
        Work.DELIVER: Drain(
            "deliver",
            partial(deliver.claim, resources),
            partial(deliver.deliver, resources),
            settings.delivery_parallel,
        ),
    }
    resources.queue.listen(lambda work: drains[work].ring())
    return drains


async def wake(drains: Drains, work: Work, _context: dict[str, Any], _subject_id: str = "") -> None:
    """The arq functions submit, reconcile and deliver: there may be work of that kind."""
    drains[work].ring()


async def create_subject(
    resources: Resources,
    context: dict[str, Any],
    account: str,
    request: object,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """The arq function other back ends enqueue: the same intake as POST /v1/subjects.

    The job's id is the idempotency key if none is given, so a job that runs twice creates once.
    The result is `{"subject": …}`, or `{"error": {code, message, errors?}}`.
    """
    key = idempotency_key or f"arq:{context['job_id']}"
    try:
        accepted = await intake.accept_for(resources, account, request, key)
    except Unavailable:
        raise Retry(defer=context["job_try"]) from None
    except CallsheetError as error:
        return {"error": _described(error)}
    return {"subject": public(accepted.subject)}


def _described(error: CallsheetError) -> dict[str, Any]:
    described: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, Invalid):
        described["errors"] = [
            {"pointer": one.pointer, "code": one.code, "message": one.message}
            for one in error.findings
        ]
    return described


async def hear(pool: ArqRedis, name: str, drains: Drains) -> None:
    """Ring the drains whose work is named on the doorbell, as soon as it is."""
    async with pool.pubsub(ignore_subscribe_messages=True) as bell:
        await bell.subscribe(doorbell(name))
        async for message in bell.listen():
            for work in message["data"].decode().split(","):
                if work in drains:
                    drains[Work(work)].ring()


def make_listener(resources: Resources, drains: Drains, pool: ArqRedis) -> ArqWorker:
    """An arq worker over an open connection."""

    async def prune(_context: dict[str, Any]) -> None:
        await housekeeping.prune(resources)

    wakes = [
        func(_coroutine(partial(wake, drains, work)), name=work.value, keep_result=0)
        for work in Work
    ]
    creation = func(
        _coroutine(partial(create_subject, resources)),
        name="create_subject",
        keep_result=KEEP_RESULT,
        max_tries=MAX_TRIES,
    )
    return ArqWorker(
        [*wakes, creation],
        queue_name=resources.queue.name,
        redis_pool=pool,
        cron_jobs=[cron(_coroutine(prune), second=0, keep_result=0)],
        handle_signals=False,
        poll_delay=POLL_DELAY,
        max_jobs=100,
        job_timeout=60,
        keep_result=0,
        job_deserializer=read_job,
        log_results=False,
    )


def _coroutine(function: Callable[..., Coroutine[Any, Any, Any]]) -> WorkerCoroutine:
    """arq's type for functions asks for a signature that no function has."""
    return cast("WorkerCoroutine", function)


async def listen_for_ever(resources: Resources, drains: Drains) -> None:
    """arq ends at the first error of Redis; here it begins again. The timers go on meanwhile."""
    redis = redis_settings(resources.settings.redis_url)
    while True:
        try:
            pool = await create_pool(
                redis, job_deserializer=read_job, default_queue_name=resources.queue.name
            )
            listener = make_listener(resources, drains, pool)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(listener.async_run())
                    group.create_task(hear(pool, resources.queue.name, drains))
            finally:
                with contextlib.suppress(*UNREACHABLE):
                    await listener.close()
                await pool.aclose(close_connection_pool=True)
        except* UNREACHABLE as away:
            log.warning("worker", action="redis_away", error=repr(away.exceptions[0]))
        await asyncio.sleep(RECONNECT_DELAY)


async def sweep_for_ever(resources: Resources) -> None:
    """Take up what dead workers left and what is past its deadline, Redis or no Redis."""
    while True:
        try:
            await reconcile.sweep(resources)
        except Unavailable as error:
            log.warning("worker", action="sweep_failed", error=repr(error))
        await asyncio.sleep(resources.settings.sweep)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; then claim nothing more, and let what is under way end."""
    async with open_resources(settings) as resources:
        drains = make_drains(resources)
        tasks = [asyncio.create_task(drain.run(settings.sweep)) for drain in drains.values()]
        tasks.append(asyncio.create_task(listen_for_ever(resources, drains)))
        tasks.append(asyncio.create_task(sweep_for_ever(resources)))
        stopped = asyncio.create_task(stop.wait())
        log.info("worker", action="started")
        try:
            # A task that ends by itself is a fault: better to end the process, and say why.
            done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
            await asyncio.gather(*(drain.finish(settings.lease) for drain in drains.values()))
            log.info("worker", action="stopped")


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    return stop
