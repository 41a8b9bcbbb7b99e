"""The arq job that other back ends enqueue to have a subject created."""

import asyncio
import contextlib
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import structlog
from arq import Retry
from arq.connections import ArqRedis
from arq.constants import expires_extra_ms, job_key_prefix, retry_key_prefix

from service.accounts.steps.authenticate import account_id_by_name
from service.intake.steps.accept import accept
from service.intake.steps.validate import validate
from service.job_queue import REDIS_ERRORS
from service.kit.errors import CallsheetError, Invalid, NotFound, TooManyRequests, Unavailable
from service.resources import Resources
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import Subject
from service.wiring import utc_now

log = structlog.get_logger()

RESULT_TTL = 3600  # seconds; of `create_subject` alone, for whoever enqueued it
CREATE_TIMEOUT = 50.0  # seconds; after these we put off `create_subject` ourselves
UNAVAILABLE_RETRY_DELAY = (
    5.0  # seconds from one try of `create_subject` to the next while Postgres is away
)
# Starts of `create_subject` that ended in nothing, not even in being put off: those under which the
# worker was stopped or died. Whatever ends every worker must not do so for ever.
MAX_TRIES = 100
CLOCK_SKEW = timedelta(minutes=1)  # that of whoever enqueued it, of Redis, and ours
DEFAULT_JOB_TTL = timedelta(milliseconds=expires_extra_ms)  # of a job that is given no other


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
        async with asyncio.timeout(CREATE_TIMEOUT):
            subject = await _create(resources, account, request, key)
    except (Unavailable, TimeoutError):
        await _extend_job(context, "Postgres is away")
        raise Retry(defer=UNAVAILABLE_RETRY_DELAY) from None
    except TooManyRequests as error:  # nobody may be waiting for the answer, to send it again
        await _extend_job(context, "the queue is full")
        raise Retry(defer=error.retry_after) from None
    except CallsheetError as error:
        return {"error": _error_body(error)}
    return {"subject": public_subject(subject)}


async def _create(
    resources: Resources, account: object, request: object, idempotency_key: object
) -> Subject:
    account_id = await account_id_by_name(resources, account)
    if account_id is None:
        raise NotFound("there is no account of this name")
    create_request = validate(resources.settings, account_id, request, idempotency_key)
    return (await accept(resources, create_request)).subject


async def _extend_job(context: dict[str, Any], reason: str) -> None:
    """A job that is put off may be so for as long as it must: the try counts for nothing, and arq's
    own expiry begins anew. One that was given less than arq's own ends when it was told to."""
    redis: ArqRedis = context["redis"]
    key, age = job_key_prefix + context["job_id"], utc_now() - context["enqueue_time"]
    with contextlib.suppress(*REDIS_ERRORS):  # it is put off all the same
        await redis.delete(retry_key_prefix + context["job_id"])
        left = timedelta(milliseconds=await redis.pttl(key))
        if timedelta() < left < DEFAULT_JOB_TTL <= left + age + CLOCK_SKEW:
            await redis.pexpire(key, DEFAULT_JOB_TTL)
    log.info("worker", action="job_put_off", job=context["job_id"], reason=reason)


def _error_body(error: CallsheetError) -> dict[str, Any]:
    described: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, Invalid):
        described["errors"] = [asdict(field_error) for field_error in error.errors]
    return described
