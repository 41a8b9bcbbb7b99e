"""Callback ingest the plain way: SQLAlchemy Core, one transaction for each request.

It leaves the same rows as the service does. It logs nothing and notifies no worker, in its favour.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import fields
from sqlalchemy import exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from starlette.requests import Request
from starlette.responses import Response

from service.callbacks.domain.verification import verify_v1
from service.kit.ids import RANDOM_BYTES, new_id
from service.provider.domain.report_to_signal import status_update
from service.provider.domain.task_reports import TaskReport, read_callback
from service.schema.callbacks import callbacks
from service.schema.deliveries import deliveries
from service.schema.events import events
from service.schema.subjects import subjects
from service.schema.subscribers import subscribers
from service.subjects.domain.event import Event, subject_event
from service.subjects.domain.lifecycle import Ignored, State, decide
from service.subjects.domain.subject import Subject, apply_update
from service.wiring import utc_now

SOURCE = "provider"
STORED_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")
COLUMNS = [subjects.c[field.name] for field in fields(Subject)]


class PlainService:
    """The handler and its engine, whose pool is the default one."""

    def __init__(self, database_url: str, keys: Sequence[bytes]) -> None:
        url = database_url.replace("postgresql://", "postgresql+asyncpg://", 1)
        self._engine = create_async_engine(url)
        self._keys = keys

    async def receive(self, request: Request) -> Response:
        now = utc_now()
        body = await request.body()
        message = verify_v1(self._keys, request.headers, body, now)
        report = read_callback(body)
        headers = {
            name: request.headers[name] for name in STORED_HEADERS if name in request.headers
        }
        row = _row(message, headers, body, report, now)
        async with self._engine.begin() as tx:
            if await _store_callback(tx, row):
                await _apply(tx, row["id"], report, now)
        return Response()


def _row(
    message: str, headers: dict[str, str], body: bytes, report: TaskReport, now: datetime
) -> dict[str, Any]:
    return {
        "id": _new_id("cbk", now),
        "source": SOURCE,
        "dedup_key": message,
        "subject_id": report.external_task_id,
        "body": body,
        "headers": headers,
        "verdict": "applied",
        "received_at": now,
        "verification": "signed",
        "task_id": report.provider_task_id,
        "status": report.status_word,
        "provider_updated_at": report.updated_at,
        "size": len(body),
    }


async def _store_callback(tx: AsyncConnection, row: dict[str, Any]) -> bool:
    """False if the callback was stored before."""
    statement = upsert(callbacks).on_conflict_do_nothing().returning(callbacks.c.id)
    return (await tx.execute(statement, row)).first() is not None


async def _apply(tx: AsyncConnection, callback_id: str, report: TaskReport, now: datetime) -> None:
    before, reported = await _locked(tx, report), status_update(report)
    if before is None or reported is None:
        await _set_verdict(tx, callback_id, "unknown" if before is None else "parked")
        return
    decision = decide(before.state, reported.signal)
    if isinstance(decision, Ignored):
        await _set_verdict(tx, callback_id, decision.value)
        return
    after = apply_update(before, decision, reported, now)
    await _move(tx, before, after)
    if after.version != before.version:
        await _write_event(tx, subject_event(after), now)


async def _locked(tx: AsyncConnection, report: TaskReport) -> Subject | None:
    statement = select(*COLUMNS).where(subjects.c.id == report.external_task_id).with_for_update()
    row = (await tx.execute(statement)).mappings().first()
    return None if row is None else Subject(**{**row, "state": State(row["state"])})


async def _set_verdict(tx: AsyncConnection, callback_id: str, verdict: str) -> None:
    statement = update(callbacks).where(callbacks.c.id == callback_id).values(verdict=verdict)
    await tx.execute(statement)


async def _move(tx: AsyncConnection, before: Subject, after: Subject) -> None:
    changed: dict[str, Any] = {
        field.name: getattr(after, field.name)
        for field in fields(Subject)
        if getattr(after, field.name) != getattr(before, field.name)
    }
    await tx.execute(update(subjects).where(subjects.c.id == before.id).values(**changed))


async def _write_event(tx: AsyncConnection, event: Event, now: datetime) -> None:
    """Write the event, and a delivery to each subscriber: due now, unless an earlier one waits."""
    row = {field.name: getattr(event, field.name) for field in fields(event)}
    await tx.execute(insert(events), row)
    behind = exists().where(
        deliveries.c.subscriber_id == subscribers.c.id,
        deliveries.c.ordering_key == event.subject_id,
        deliveries.c.state == "pending",
    )
    statement = select(subscribers.c.id, subscribers.c.event_types, behind).where(
        subscribers.c.account_id == event.account_id, subscribers.c.state != "disabled"
    )
    rows = [
        {
            "id": _new_id("dlv", now),
            "event_id": event.id,
            "subscriber_id": subscriber_id,
            "ordering_key": event.subject_id or event.id,
            "sequence": event.sequence,
            "state": "pending",
            "due_at": None if is_behind else event.created_at,
            "created_at": event.created_at,
        }
        for subscriber_id, types, is_behind in await tx.execute(statement)
        if types is None or event.type in types
    ]
    if rows:
        await tx.execute(insert(deliveries), rows)


def _new_id(prefix: str, now: datetime) -> str:
    return new_id(prefix, now, secrets.token_bytes(RANDOM_BYTES))
