"""The arq job `create_subject`, which other back ends enqueue to have a subject created."""

import asyncio
import contextlib
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from arq import Retry
from arq.connections import ArqRedis
from arq.constants import expires_extra_ms, job_key_prefix, retry_key_prefix
from msgspec.structs import replace

from service.accounts.steps.authenticate import account_id_by_name
from service.intake.domain.door import Door
from service.intake.steps.accept import accept
from service.intake.steps.count_accepted import count_accepted
from service.intake.steps.count_refused import counted
from service.intake.steps.validate import validate
from service.job_queue import REDIS_ERRORS
from service.kit import tracing
from service.kit.errors import (
    CallsheetError,
    IntakeHeld,
    Invalid,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from service.resources import Resources
from service.retention.domain.retention import kept_until_member
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import Subject
from service.wiring import utc_now

log = structlog.get_logger()

RESULT_TTL = 3600  # seconds that arq keeps a result for whoever enqueued the job
CREATE_TIMEOUT = 50.0  # seconds; after these the job is deferred
UNAVAILABLE_RETRY_DELAY = 5.0  # seconds until the next try, while it cannot be taken
# Tries that neither ended nor were deferred: the worker was stopped or died under them. A job that
# ends every worker must not do so for ever.
MAX_TRIES = 100
CLOCK_SKEW = timedelta(minutes=1)  # between the clocks of the enqueuer, of Redis, and ours
DEFAULT_JOB_TTL = timedelta(milliseconds=expires_extra_ms)  # until arq drops a job, unless told


async def create_subject(
    resources: Resources,
    context: dict[str, Any],
    account: str,
    request: object,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """The arq function: a subject of the account of this name is created as by POST /v1/subjects.

    `request` is the JSON body. Without `idempotency_key` the job's id is the key, so that a job
    that runs twice creates one subject. The result is `{"subject": …}`, or
    `{"error": {code, message, errors?}}`; while Postgres is away, the intake is held or the
    account's queue is full, the job is deferred.
    """
    key = idempotency_key or f"arq:{context['job_id']}"
    try:
        async with asyncio.timeout(CREATE_TIMEOUT):
            subject = await _create(resources, account, request, key)
    except (Unavailable, TimeoutError):
        await _extend_job(context, "Postgres is away")
        raise Retry(defer=UNAVAILABLE_RETRY_DELAY) from None
    except IntakeHeld:
        await _extend_job(context, "the intake is held")
        raise Retry(defer=UNAVAILABLE_RETRY_DELAY) from None
    except TooManyRequests as error:  # nobody may be waiting for the answer to enqueue it again
        await _extend_job(context, "the queue is full")
        raise Retry(defer=error.retry_after) from None
    except CallsheetError as error:
        return {"error": _error_body(error)}
    kept_until = kept_until_member(subject, resources.settings)
    return {"subject": public_subject(subject) | kept_until}


async def _create(
    resources: Resources, account: object, request: object, idempotency_key: object
) -> Subject:
    account_id = await account_id_by_name(resources, account)
    if account_id is None:
        raise NotFound("There is no account of this name.")
    parse = partial(validate, resources.settings, account_id, idempotency_key=idempotency_key)
    create_request = counted(resources, account_id, parse)(request)
    with tracing.span("accept", server=True) as span:
        create_request = replace(create_request, traceparent=span.traceparent)
        accepted = await accept(resources, create_request)
        span.link(accepted.subject.id, None)
    count_accepted(Door.ARQ, [accepted])
    return accepted.subject


async def _extend_job(context: dict[str, Any], reason: str) -> None:
    """Let a deferred job wait for as long as it must: its tries are forgotten, and arq's own expiry
    starts anew. A job that was enqueued with a shorter expiry keeps that."""
    redis: ArqRedis = context["redis"]
    key, age = job_key_prefix + context["job_id"], utc_now() - context["enqueue_time"]
    with contextlib.suppress(*REDIS_ERRORS):  # it is deferred all the same
        await redis.delete(retry_key_prefix + context["job_id"])
        remaining = timedelta(milliseconds=await redis.pttl(key))
        if timedelta() < remaining < DEFAULT_JOB_TTL <= remaining + age + CLOCK_SKEW:
            await redis.pexpire(key, DEFAULT_JOB_TTL)
    log.info("worker", action="job_deferred", job=context["job_id"], reason=reason)


def _error_body(error: CallsheetError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, Invalid):
        body["errors"] = [asdict(field_error) for field_error in error.errors]
    return body
