"""A callback: believed or not, kept once, applied if it is news; then, and only then, answered."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import structlog

from service.core.errors import SignatureError
from service.core.messages import read_callback
from service.core.signatures import verify
from service.core.tokens import subject_of
from service.queue import Work
from service.steps.advance import announce
from service.steps.judge import Docket, Incoming, Taken
from service.steps.resources import Resources
from service.store import callbacks, moves, subjects
from service.store.callbacks import Callback
from service.store.database import Transaction

log = structlog.get_logger()

SOURCE = "provider"
KEPT_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")
MAX_KEPT = 500  # characters of one kept header


def receive(
    resources: Resources, token: str | None, headers: Mapping[str, str], body: bytes
) -> Incoming:
    """Check and read one callback; nothing is written yet.

    `token` is that of the address, None where it names no subject; `headers` have lower-case
    names. SignatureError if it cannot be believed, Malformed if it cannot be read.
    """
    named = None if token is None else subject_of(resources.callback_key, token)
    if token is not None and named is None:
        raise SignatureError("this address is not one of ours")
    signed = bool(resources.settings.webhook_secrets)
    if signed:
        key = verify(resources.settings.webhook_secrets, headers, body, resources.clock())
    else:
        key = "sha256:" + hashlib.sha256((token or "").encode() + b"\n" + body).hexdigest()
    callback = Callback(
        id=resources.new_id("cbk"),
        source=SOURCE,
        dedup_key=key,
        subject_id=named,
        body=body,
        headers={name: headers[name][:MAX_KEPT] for name in KEPT_HEADERS if name in headers},
        received_at=resources.clock(),
    )
    return Incoming(callback, read_callback(body), signed)


async def store(resources: Resources, incoming: Sequence[Incoming]) -> list[Taken]:
    """Keep and apply callbacks in one transaction, with as many statements for many as for one.

    When this returns, all are durable; if it raises, none was written.
    """
    async with resources.database.transaction() as tx:
        docket = await _docket(tx, resources, incoming)
        taken = docket.judge_all(incoming)
        await callbacks.keep(tx, docket.kept)
        deliveries = await moves.write(tx, docket.moves())
        await subjects.ask_at(tx, docket.to_ask, resources.clock())
    for one, result in zip(incoming, taken, strict=True):
        _announce(resources, one, result, deliveries)
    return taken


async def take(
    resources: Resources, token: str | None, headers: Mapping[str, str], body: bytes
) -> Taken:
    """Receive and store one callback by itself."""
    (taken,) = await store(resources, [receive(resources, token, headers, body)])
    return taken


async def _docket(tx: Transaction, resources: Resources, incoming: Sequence[Incoming]) -> Docket:
    # The subjects' locks come first, in the order of their ids: copies that arrive elsewhere at
    # once queue up behind them, and then find what was kept here.
    locked = await subjects.lock_all(
        tx,
        ids=_distinct(one.callback.subject_id or one.report.external_task_id for one in incoming),
        provider_task_ids=_distinct(one.report.provider_task_id for one in incoming),
    )
    keys = _distinct(one.callback.dedup_key for one in incoming)
    return Docket(resources, locked, seen=await callbacks.known(tx, SOURCE, keys))


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


def _announce(resources: Resources, one: Incoming, taken: Taken, deliveries: int) -> None:
    """One line for each callback: that of its move, or why there was none."""
    outcome = taken.outcome
    if outcome is not None and outcome.stay is None:
        announce(resources, outcome, f"callback {one.report.word[:50]}", deliveries)
        return
    log.info(
        "callback",
        action="callback_kept",
        callback=one.callback.id,
        subject=one.callback.subject_id,
        provider_task=one.report.provider_task_id,
        word=one.report.word[:50],
        verdict=taken.verdict,
        reason=taken.reason,
    )
    if taken.ask is not None:
        resources.queue.wake(Work.RECONCILE, taken.ask)
