"""New subjects are written in batches, with all that stands and falls with them; and the queued
subjects of accounts are counted."""

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import asyncpg
from sqlalchemy import text

from service.intake.store.idempotency import AccountAndKey, Binding
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.subjects.domain.subject import Subject
from service.subjects.domain.work import Work
from service.subjects.store.events import DELIVERIES_MADE, WRITE_EVENTS, NewEvent, event_values

_COLUMNS = {
    "id": "text",
    "account_id": "text",
    "external_task_id": "text",
    "fingerprint": "text",
    "document": "jsonb",
    "tags": "text[]",
    "state": "text",
    "version": "int",
    "available_at": "timestamptz",
    "deadline": "timestamptz",
    "callback_subscriber_id": "text",
    "media_check_at": "timestamptz",
    "warnings": "jsonb",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
_BINDING_COLUMNS = {
    "account_id": "text",
    "key": "text",
    "fingerprint": "text",
    "subject_id": "text",
    "created_at": "timestamptz",
}
# Each table in an order of its own, and the tables in that of the last line, subjects last: so two
# batches that want the same keys and external ids never wait for each other.
_WRITE = text(f"""
    WITH {WRITE_EVENTS}, added AS (
        INSERT INTO subjects ({", ".join(_COLUMNS)})
        SELECT {", ".join(_COLUMNS)} FROM {from_rows("new_subjects", _COLUMNS)}
        ORDER BY account_id, external_task_id
    ), bound AS (
        INSERT INTO idempotency_keys ({", ".join(_BINDING_COLUMNS)})
        SELECT {", ".join(_BINDING_COLUMNS)} FROM {from_rows("bindings", _BINDING_COLUMNS)}
        ORDER BY account_id, key
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM bound), {DELIVERIES_MADE}
""")  # noqa: S608 - only our own column names are put in
_COUNT_QUEUED = text("""
    SELECT account_id, (
        SELECT count(*) FROM (
            SELECT 1 FROM subjects s
            WHERE s.state = 'queued' AND s.account_id = given.account_id LIMIT :most
        ) AS counted
    )
    FROM unnest(CAST(:accounts AS text[])) AS given (account_id)
""")
_LOCK_QUEUES = text("""
    SELECT pg_advisory_xact_lock(key) FROM (
        SELECT hashtextextended('queue ' || account_id, 0) AS key
        FROM unnest(CAST(:accounts AS text[])) AS given (account_id) ORDER BY key
    ) AS keys
""")
NO_BINDINGS: Final = MappingProxyType[AccountAndKey, Binding]({})


class TakenError(Exception):
    """Another request has taken an idempotency key or an external_task_id meanwhile."""


async def add_subjects(
    tx: Connection,
    new: Sequence[Subject],
    events: Sequence[NewEvent] = (),
    *,
    bindings: Mapping[AccountAndKey, Binding] = NO_BINDINGS,
    media_due: Container[str] = (),
) -> None:
    """Write new subjects, their events with the deliveries of these, and bind idempotency keys: all
    in one statement, which notifies the workers. `media_due` are ids of subjects whose media are
    fetched and checked before submission.

    The unique keys decide the race of requests that arrive at once: they wait for the other's
    commit. TakenError if there is a subject of an external id, or a key is bound: then nothing is
    written, and the other's subject can be read.
    """
    work = {Work.CHECK_MEDIA if subject.id in media_due else Work.SUBMIT for subject in new}
    values = {
        "new_subjects": encode_rows([_row(subject, media_due) for subject in new]),
        "bindings": encode_rows([_binding_row(*entry) for entry in bindings.items()]),
    }
    try:
        await tx.execute(_WRITE, values | event_values(events, work))
    except asyncpg.UniqueViolationError as error:
        raise TakenError from error


def _row(subject: Subject, media_due: Container[str]) -> dict[str, Any]:
    return {
        "id": subject.id,
        "account_id": subject.account_id,
        "external_task_id": subject.external_task_id,
        "fingerprint": subject.fingerprint,
        "document": subject.document,
        "tags": subject.tags,
        "state": subject.state,
        "version": subject.version,
        "available_at": subject.available_at,
        "deadline": subject.deadline,
        "callback_subscriber_id": subject.callback_subscriber_id,
        "media_check_at": subject.created_at if subject.id in media_due else None,
        "warnings": subject.warnings,
        "created_at": subject.created_at,
        "updated_at": subject.updated_at,
    }


def _binding_row(account_and_key: AccountAndKey, binding: Binding) -> dict[str, Any]:
    account_id, key = account_and_key
    return {
        "account_id": account_id,
        "key": key,
        "fingerprint": binding.fingerprint,
        "subject_id": binding.subject_id,
        "created_at": binding.created_at,
    }


async def count_queued(tx: Connection, account_ids: Sequence[str], most: int) -> dict[str, int]:
    """How many subjects of each account are queued, counted up to `most`; an advisory lock keeps
    others from counting them until this transaction ends."""
    await tx.execute(_LOCK_QUEUES, {"accounts": account_ids})
    found = await tx.execute(_COUNT_QUEUED, {"accounts": account_ids, "most": most})
    return {row[0]: int(row[1]) for row in found}
