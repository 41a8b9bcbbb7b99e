"""A callback: believed or not, kept once, applied if it is news; then, and only then, answered."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from service.core.errors import SignatureError
from service.core.lifecycle import Signal
from service.core.messages import Report, read_callback
from service.core.signatures import verify
from service.core.subjects import Subject
from service.core.tokens import subject_of
from service.queue import Work
from service.steps.advance import Outcome, announce, apply, consider
from service.steps.resources import Resources
from service.steps.submit import news_of
from service.store import callbacks, subjects
from service.store.callbacks import Callback
from service.store.database import Transaction

log = structlog.get_logger()

SOURCE = "provider"
KEPT_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")
MAX_KEPT = 500  # characters of one kept header


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a callback; `outcome` is set if it was news of a known subject."""

    verdict: str
    reason: str | None = None
    outcome: Outcome | None = None


async def take(
    resources: Resources, token: str | None, headers: Mapping[str, str], body: bytes
) -> Taken:
    """Keep and apply one callback; when this returns, it is durable.

    `token` is that of the address, None where it names no subject; `headers` have lower-case
    names. SignatureError if it cannot be believed, Malformed if it cannot be read.
    """
    named = None if token is None else subject_of(resources.callback_key(), token)
    if token is not None and named is None:
        raise SignatureError("this address is not one of ours")
    signed = bool(resources.settings.webhook_secrets)
    if signed:
        key = verify(resources.settings.webhook_secrets, headers, body, resources.clock())
    else:
        key = "sha256:" + hashlib.sha256((token or "").encode() + b"\n" + body).hexdigest()
    report = read_callback(body)
    callback = _callback(resources, key, named, headers, body)
    async with resources.database.transaction() as tx:
        taken, deliveries = await _take(tx, resources, callback, report, signed=signed)
    _announce(resources, callback, report, taken, deliveries)
    return taken


def _callback(
    resources: Resources, key: str, named: str | None, headers: Mapping[str, str], body: bytes
) -> Callback:
    return Callback(
        id=resources.new_id("cbk"),
        source=SOURCE,
        dedup_key=key,
        subject_id=named,
        body=body,
        headers={name: headers[name][:MAX_KEPT] for name in KEPT_HEADERS if name in headers},
        received_at=resources.clock(),
    )


async def _take(
    tx: Transaction, resources: Resources, callback: Callback, report: Report, *, signed: bool
) -> tuple[Taken, int]:
    # The subject's lock comes first: copies that arrive at once then queue up behind it.
    subject = await _find(tx, callback, report)
    taken = _judge(resources, subject, report, signed=signed)
    if not await callbacks.keep(
        tx, callback, subject.id if subject else None, taken.verdict, taken.reason
    ):
        return Taken("repeated"), 0
    if taken.outcome is not None:
        return taken, await apply(tx, resources, taken.outcome)
    if taken.verdict in {"hint", "parked"} and subject is not None:
        await subjects.set_next_poll(tx, subject.id, callback.received_at)
    return taken, 0


async def _find(tx: Transaction, callback: Callback, report: Report) -> Subject | None:
    if callback.subject_id is not None:
        return await subjects.lock(tx, callback.subject_id)
    if report.external_task_id is not None:
        subject = await subjects.lock(tx, report.external_task_id)
        if subject is not None:
            return subject
    known = await subjects.id_by_provider_task(tx, report.provider_task_id)
    return None if known is None else await subjects.lock(tx, known)


def _judge(resources: Resources, subject: Subject | None, report: Report, *, signed: bool) -> Taken:
    if subject is None:
        return Taken("unknown", "it names no subject we know")
    if report.external_task_id not in {None, subject.id}:
        return Taken("mismatch", "the body names another subject than the address")
    if subject.provider_task_id not in {None, report.provider_task_id}:
        return Taken("mismatch", "the body names another provider task than this subject's")
    if not signed:
        return Taken("hint", "unsigned: the provider is asked")
    news = news_of(report)
    if news is None:
        reason = f"nothing can be made of the status {report.word[:50]!r} alone"
        return Taken("parked", reason)
    outcome = consider(resources, subject, news)
    return Taken(outcome.verdict, outcome=outcome)


def _announce(
    resources: Resources, callback: Callback, report: Report, taken: Taken, deliveries: int
) -> None:
    log.info(
        "callback",
        action="callback_taken",
        callback=callback.id,
        subject=callback.subject_id,
        provider_task=report.provider_task_id,
        word=report.word[:50],
        verdict=taken.verdict,
        reason=taken.reason,
    )
    if taken.outcome is not None:
        signal = Signal(report.status.value) if report.status else Signal.LOST
        announce(resources, taken.outcome, signal.value, deliveries)
    elif taken.verdict in {"hint", "parked"} and callback.subject_id:
        resources.queue.wake(Work.RECONCILE, callback.subject_id)
