"""New subjects are inserted in batches, and the queued subjects of accounts are counted."""

from collections.abc import Container, Sequence
from typing import Any

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.subjects.domain.subject import Subject

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
# The order keeps two batches that name the same external ids from waiting for each other.
_ADD_SUBJECTS = text(f"""
    INSERT INTO subjects ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM {from_rows("new_subjects", _COLUMNS | {"place": "int"})}
    ORDER BY account_id, external_task_id, place
    ON CONFLICT (account_id, external_task_id) DO NOTHING
    RETURNING id
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


async def add_subjects(
    tx: Connection, new: Sequence[Subject], media_due: Container[str] = ()
) -> set[str]:
    """Insert subjects, and return the ids of those that were: not if the account has one of this
    external_task_id already, and of several with one id only the first. `media_due` are ids of
    subjects whose media are fetched and checked before submission.

    The unique key decides the race of requests that arrive at once: it waits for the other's
    commit, so that the other's subject can be read then.
    """
    given = [_row(subject, media_due) | {"place": n} for n, subject in enumerate(new)]
    return {row[0] for row in await tx.execute(_ADD_SUBJECTS, {"new_subjects": encode_rows(given)})}


def _row(subject: Subject, media_due: Container[str]) -> dict[str, Any]:
    columns = {name: getattr(subject, name) for name in _COLUMNS if name != "media_check_at"}
    return columns | {"media_check_at": subject.created_at if subject.id in media_due else None}


async def count_queued(tx: Connection, account_ids: Sequence[str], most: int) -> dict[str, int]:
    """How many subjects of each account are queued, counted up to `most`; an advisory lock keeps
    others from counting them until this transaction ends."""
    await tx.execute(_LOCK_QUEUES, {"accounts": account_ids})
    found = await tx.execute(_COUNT_QUEUED, {"accounts": account_ids, "most": most})
    return {row[0]: int(row[1]) for row in found}
