"""Kept callbacks: looked at, and judged again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from service.core.errors import Conflict, NotFound, Unavailable
from service.core.signature_schemes import PLAIN_HEADERS, Ed25519, Hmac, SharedSecret
from service.core.task_reports import read_callback
from service.core.url_tokens import callback_token
from service.steps import ingest
from service.steps.ingest import OtherSecrets, Overtaken
from service.steps.resources import Resources
from service.steps.verify import Incoming, Received, receive
from service.store import archive, owners
from service.store.archive import Found, Summary, Wanted
from service.store.inbox import Callback, Trust

log = structlog.get_logger()

TAKEN_UP_FOR = timedelta(hours=1)  # after it came: later, the provider has been asked long since
BATCH = 100  # callbacks that are taken up, or read to be verified again, at a time
AGAIN = frozenset({"rejected", "unknown"})  # nothing has been made of these yet
HIDDEN = "(kept)"  # shown in place of a header's value that proves


async def page(
    resources: Resources, wanted: Wanted, limit: int
) -> tuple[list[Summary], str | None, dict[str, int]]:
    """The newest first, of every account; the id that the next page begins below; how many there
    are by verdict."""
    async with resources.database.transaction() as tx:
        found, below = await archive.page(tx, wanted, limit)
        counts = await archive.counts(tx)
    return found, below, counts


async def account_names(resources: Resources, callbacks: Sequence[Summary]) -> list[str | None]:
    """The names of the accounts whose subjects these are about; None where that is none."""
    subject_ids = {summary.subject_id for summary in callbacks if summary.subject_id is not None}
    async with resources.database.autocommit() as tx:
        names = await owners.of_subjects(tx, subject_ids)
    return [names.get(summary.subject_id or "") for summary in callbacks]


async def look(resources: Resources, callback_id: str) -> Found:
    async with resources.database.autocommit() as tx:
        found = await archive.get(tx, callback_id)
    if found is None:
        raise NotFound
    return found


def shown_headers(resources: Resources, found: Found) -> dict[str, str]:
    """Its headers, but for the values that prove: the signature, the shared secret's trace."""
    match resources.settings.callback_sources.get(found.summary.source):
        case SharedSecret() as scheme:
            proving = scheme.header
        case Hmac() | Ed25519() as scheme:
            proving = scheme.signature_header
        case _:
            proving = ""
    open_ = frozenset(PLAIN_HEADERS) - {proving}
    return {name: one if name in open_ else HIDDEN for name, one in found.headers.items()}


async def reverify(resources: Resources, callback_id: str) -> Found:
    """Judge it again by the secrets in force now; as it is kept then, which is under another id
    if the same message had come again meanwhile.

    Conflict if it is still not believed, or if something was made of it before.
    """
    found = await look(resources, callback_id)
    verdict = found.summary.verdict
    if verdict not in AGAIN:
        message = f"it was not rejected: its verdict is {verdict}"
        raise Conflict(message, "not_rejected", verdict=verdict)
    await _refresh(resources)
    one = await _judge_again(resources, found)
    if one.refusal is not None:
        raise Conflict(str(one.refusal), "still_rejected", reason=str(one.refusal))
    async with resources.database.autocommit() as tx:
        now = await archive.get(tx, callback_id)
        now = now or await archive.by_key(tx, one.callback.source, one.callback.dedup_key)
    if now is None:
        raise NotFound
    return now


async def reverify_all(resources: Resources, source: str) -> tuple[int, int]:
    """Verify again what was rejected from a source; how many, and how many of them are taken."""
    number, taken, above = 0, 0, ""
    while True:
        async with resources.database.autocommit() as tx:
            ids = await archive.rejected_of(tx, source, above, BATCH)
        await _refresh(resources)
        for callback_id in ids:
            one = await _safely(resources, callback_id, "rejected")
            number += one is not None
            taken += one is not None and one.refusal is None
        if len(ids) < BATCH:
            return number, taken
        above = ids[-1]


async def appear(resources: Resources) -> None:
    """Take up the callbacks that told of nothing we knew, and whose subject has appeared since."""
    async with resources.database.autocommit() as tx:
        ids = await archive.appeared(tx, resources.clock() - TAKEN_UP_FOR, BATCH)
    for callback_id in ids:
        await _safely(resources, callback_id, "unknown")


async def _safely(resources: Resources, callback_id: str, verdict: str) -> Incoming | None:
    """Judge it again, if it still has this verdict; a fault in it must not keep us from others."""
    try:
        found = await look(resources, callback_id)
        return await _judge_again(resources, found) if found.summary.verdict == verdict else None
    except NotFound:
        return None
    except Unavailable:
        raise
    except Exception:
        log.exception("revisit", action="fault", callback=callback_id)
        return None


async def _judge_again(resources: Resources, found: Found) -> Incoming:
    """Replace what is kept by what it comes to now, under its own id; what it was taken for. Of
    one that is still refused, only the reason is new.

    Nothing happens to it if somebody else is faster: that judgement is as good.
    """
    one = _taken_out(resources, found)
    if one.refusal is not None:
        async with resources.database.autocommit() as tx:
            await archive.explain(tx, found.summary.id, found.summary.verdict, str(one.refusal))
        return one
    try:
        async with resources.database.transaction() as tx:
            (taken,), deliveries = await ingest.write(tx, resources, [one], anew=found.summary)
    except OtherSecrets:
        await _refresh(resources)
        return await _judge_again(resources, found)
    except Overtaken:
        return one
    ingest.tell(resources, one, taken, deliveries)
    return one


async def _refresh(resources: Resources) -> None:
    """See to it that what is refused is refused by the secrets in force."""
    async with resources.database.autocommit() as tx:
        await resources.keyring.refresh(tx)


def _taken_out(resources: Resources, found: Found) -> Incoming:
    """As if it came now, but under its own id, and at the time when it did come."""
    summary, token = found.summary, found.token
    if token is None and summary.subject_id is not None:
        token = callback_token(resources.callback_key, summary.subject_id)
    received = Received(
        summary.source, token, found.headers, found.body, summary.received_at, veiled=True
    )
    if summary.verdict == "rejected":
        one = receive(resources, received)
        return replace(one, callback=replace(one.callback, id=summary.id))
    again = Callback(
        id=summary.id,
        source=summary.source,
        dedup_key=found.dedup_key,
        trust=Trust(summary.trust or Trust.NONE),
        subject_id=summary.subject_id,
        body=found.body,
        headers=found.headers,
        received_at=summary.received_at,
        task_id=summary.task_id,
        status=summary.status,
        provider_updated_at=summary.provider_updated_at,
    )
    return Incoming(again, read_callback(found.body), received, None)
