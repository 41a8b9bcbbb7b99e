"""The worker process: runs its work loops, notified by Postgres of what is committed, or by a timer
if a notification is lost; and takes arq's jobs, if there is a Redis.

A notification says only that there may be work; what it is, and whose turn, is read from Postgres.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, cast

import structlog
from arq import Worker as ArqWorker
from arq import create_pool
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import func

from service.delivery.steps import deliver, health_events
from service.erasure.steps import delete_at_provider
from service.inner_port import inner_port
from service.installation.steps import note_moment
from service.job_queue import (
    REDIS_ERRORS,
    REDIS_TIMEOUT,
    read_job,
    redis_settings,
)
from service.jobs import MAX_TRIES, RESULT_TTL, create_subject
from service.kit.concurrency.event_loop_lag import measured_event_loop
from service.kit.concurrency.work_loop import WorkLoop
from service.kit.database.listen import keep_listening
from service.kit.errors import Unavailable
from service.media.steps import check_media
from service.operations.steps import audit_recent, run_operation, snapshot
from service.reconciliation.steps import expired_leases_and_deadlines, poll, renew_leases
from service.resources import Resources
from service.retention.steps import prune
from service.settings import Settings
from service.subjects.domain.work import Work, decode_work
from service.subjects.store.work import WORK_CHANNEL
from service.submission.steps import submit
from service.usage.steps import refusals
from service.wiring import open_resources, tune_garbage_collector

log = structlog.get_logger()

POLL_CONCURRENCY = 8  # polls at once in one worker; the provider does not charge for them
ERASE_CONCURRENCY = 2  # deletions at the provider at once in one worker, which nobody waits for
MAX_DETACHED = 1000  # deliveries that wait for slow subscribers; each has a connection
ARQ_POLL_DELAY = 0.5  # seconds between arq's reads of its queue; arq's own default
STOP_TIMEOUT = 5.0  # seconds that a claim in progress gets at the end
RECONNECT_DELAY = 1.0  # seconds between tries while Redis is away
JOB_TIMEOUT = 60.0  # seconds until arq cancels a job
RENEWALS = 3  # of a lease before it would end: one may fail
# A poll changes nothing, a deletion no more the second time, a step is one transaction: no renewal.
LEASED = (Work.CHECK_MEDIA, Work.SUBMIT, Work.DELIVER)
# Each is a task of its own, so that one that fails or takes long delays no other.
SWEEPS = (
    expired_leases_and_deadlines.sweep,
    health_events.sweep,
    prune.run_if_due,
    snapshot.sweep,
    audit_recent.run_if_due,
)

WorkLoops = Mapping[Work, WorkLoop[Any]]


def make_work_loops(resources: Resources) -> WorkLoops:
    """One work loop for each kind of work."""
    settings = resources.settings
    deliverer = deliver.Deliverer(resources)
    checker = check_media.MediaChecker(resources)
    loops: WorkLoops = {
        Work.CHECK_MEDIA: WorkLoop(
            "check_media", checker.claim, checker.check, settings.media_concurrency
        ),
        Work.SUBMIT: WorkLoop(
            "submit",
            partial(submit.claim, resources),
            partial(submit.submit, resources),
            settings.provider_parallel,
        ),
        Work.RECONCILE: WorkLoop(
            "reconcile",
            partial(poll.claim, resources),
            partial(poll.poll, resources),
            POLL_CONCURRENCY,
        ),
        Work.DELIVER: WorkLoop(
            "deliver",
            deliverer.claim,
            deliverer.deliver,
            settings.delivery_concurrency,
            detached=MAX_DETACHED,
        ),
        Work.OPERATE: WorkLoop(
            "operate",
            partial(run_operation.claim, resources),
            partial(run_operation.run_step, resources),
            1,
        ),
        Work.ERASE: WorkLoop(
            "erase",
            partial(delete_at_provider.claim, resources),
            partial(delete_at_provider.delete, resources),
            ERASE_CONCURRENCY,
        ),
    }
    return loops


async def listen_for_work(url: str, loops: WorkLoops) -> None:
    """Notify the loops of the work that is committed, at once; and all of them once it listens, as
    what was committed before then was not heard."""

    def notify(payload: str) -> None:
        for work in decode_work(payload):
            loops[work].notify()

    await keep_listening(url, WORK_CHANNEL, notify)


def make_arq_worker(resources: Resources, pool: ArqRedis) -> ArqWorker:
    """An arq worker over an open connection, for the jobs that other back ends enqueue."""
    job = func(
        _coroutine(partial(create_subject, resources)),
        name="create_subject",
        keep_result=RESULT_TTL,
        max_tries=MAX_TRIES,
    )
    return ArqWorker(
        [job],
        queue_name=resources.settings.queue_name,
        redis_pool=pool,
        handle_signals=False,
        poll_delay=ARQ_POLL_DELAY,
        max_jobs=100,
        job_timeout=JOB_TIMEOUT,
        keep_result=0,
        job_deserializer=read_job,
        log_results=False,
    )


def _coroutine(function: Callable[..., Coroutine[Any, Any, Any]]) -> WorkerCoroutine:
    """arq's type for functions asks for a signature that no function has."""
    return cast("WorkerCoroutine", function)


async def run_arq(resources: Resources, pool: ArqRedis) -> None:
    """Run arq's worker; it ends at the first error of Redis, or when this process is held."""
    arq_worker = make_arq_worker(resources, pool)
    stopping = asyncio.create_task(_stop_when_held(resources, arq_worker))
    try:
        await arq_worker.async_run()
    finally:
        stopping.cancel()
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(REDIS_TIMEOUT):  # a Redis that hangs must not keep us
                await arq_worker.close()


async def _stop_when_held(resources: Resources, arq_worker: ArqWorker) -> None:
    await resources.home.until_shut()
    if arq_worker.main_task is not None:
        arq_worker.main_task.cancel()


async def take_jobs(resources: Resources, redis_url: str) -> None:
    """Take arq's jobs off Redis, on a new connection whenever one ends. Nothing that is found there
    ends the worker, even if arq cannot read it."""
    settings, name = redis_settings(redis_url), resources.settings.queue_name
    task = asyncio.current_task()
    while not (task and task.cancelling()):  # also if closing broke off what had canceled it
        try:
            await resources.home.until_open()  # else the jobs are left to who is at home
            pool = await create_pool(settings, job_deserializer=read_job, default_queue_name=name)
            try:
                await drop_unreadable(pool, name)
                await run_arq(resources, pool)
            finally:
                async with asyncio.timeout(REDIS_TIMEOUT):
                    await pool.aclose(close_connection_pool=True)
        except REDIS_ERRORS as error:
            log.warning("worker", action="redis_away", error=repr(error))
        except asyncio.CancelledError:
            # arq canceled a job while it closed; only a cancellation of this task ends it.
            if task and task.cancelling():
                raise
            log.warning("worker", action="redis_away", error="a job was cut off")
        except Exception:
            log.exception("worker", action="redis_unusable")
        await asyncio.sleep(RECONNECT_DELAY)


async def drop_unreadable(pool: ArqRedis, name: str) -> None:
    """Remove job ids that are not text from our queue: arq would fail on them again and again."""
    for job_id in await pool.zrange(name, 0, -1):
        try:
            job_id.decode()
        except UnicodeDecodeError:
            await pool.zrem(name, job_id)
            log.warning("worker", action="job_dropped", reason="its id is not text")


async def sweep_periodically(
    resources: Resources, sweep: Callable[[Resources], Coroutine[Any, Any, None]]
) -> None:
    """Run a sweep every SWEEP_INTERVAL, whatever it raises and whether or not Redis can be
    reached."""
    while True:
        try:
            await sweep(resources)
        except Unavailable as error:
            log.warning("worker", action="sweep_failed", error=error.reason)
        except Exception:
            log.exception("worker", action="fault")
        await asyncio.sleep(resources.settings.sweep_interval)


async def keep_leases(resources: Resources, loops: WorkLoops) -> None:
    """Renew the leases of all work in progress, several times before they would end: if the process
    dies, they end soon after."""
    while True:
        await asyncio.sleep(resources.settings.lease / RENEWALS)
        leases = [item.lease for work in LEASED for item in loops[work].in_progress]
        try:
            await renew_leases.renew(resources, leases)
        except Unavailable as error:
            log.warning("worker", action="leases_not_renewed", error=error.reason)
        except Exception:
            log.exception("worker", action="fault")


async def finish(loops: WorkLoops, lease: float) -> None:
    """Wait for work in progress. A check of media may take minutes; when its time is up, it is
    canceled and given back."""
    timeouts = {work: STOP_TIMEOUT if work is Work.CHECK_MEDIA else lease for work in loops}
    await asyncio.gather(*(loop.finish(timeouts[work]) for work, loop in loops.items()))


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; then claim nothing more, and wait for work in progress."""
    tune_garbage_collector()
    _, port = settings.inner_port
    async with (
        open_resources(settings) as resources,
        inner_port(resources, port),
        refusals.stored_periodically(lambda: resources),
        measured_event_loop(),
    ):
        loops = make_work_loops(resources)
        tasks = [asyncio.create_task(loop.run(settings.sweep_interval)) for loop in loops.values()]

        def notify_all() -> None:
            for loop in loops.values():
                loop.notify()

        watchers = [
            asyncio.create_task(note_moment.keep_noting(resources, notify_all)),
            asyncio.create_task(listen_for_work(settings.database_url, loops)),
            *(asyncio.create_task(sweep_periodically(resources, sweep)) for sweep in SWEEPS),
        ]
        if settings.redis_url is not None:
            watchers.append(asyncio.create_task(take_jobs(resources, settings.redis_url)))
        renewing = asyncio.create_task(keep_leases(resources, loops))
        stopped = asyncio.create_task(stop.wait())
        log.info("worker", action="started")
        try:
            # A task that ends by itself is a fault: the process ends, and its error is raised.
            running = [stopped, renewing, *tasks, *watchers]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for loop in loops.values():
                loop.stop()
            for task in (stopped, *watchers):
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
            for task in tasks:
                task.cancel()
            await asyncio.gather(stopped, *tasks, *watchers, return_exceptions=True)
            await finish(loops, settings.lease)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            log.info("worker", action="stopped")


def stop_on_signals() -> asyncio.Event:
    """An event that is set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    return stop
