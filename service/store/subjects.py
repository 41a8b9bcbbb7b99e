"""Subjects: read, locked and claimed. How they are made is in insert.py, how they move in
moves.py."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select, text

from service.core.lifecycle import Signal, State, decide
from service.core.subjects import Subject
from service.schema.subjects import subjects
from service.store.connection import Connection

COLUMNS = tuple(subjects.c[field.name] for field in fields(Subject))
STATE = [column.name for column in COLUMNS].index("state")
CLAIMED = decide(State.QUEUED, Signal.CLAIMED)


# Statements are built once: building one and finding it in the cache costs more than running it.
_BY_EXTERNAL_ID = text(f"""
    SELECT {", ".join(f"s.{column.name}" for column in COLUMNS)}
    FROM unnest(CAST(:accounts AS text[]), CAST(:external_ids AS text[]))
        AS given (account_id, external_id)
    JOIN subjects s ON s.account_id = given.account_id AND s.external_task_id = given.external_id
""")  # noqa: S608 - only our own column names are put in
_BY_IDS = text(f"""
    SELECT {", ".join(column.name for column in COLUMNS)} FROM subjects
    WHERE id = ANY (CAST(:ids AS text[]))
""")  # noqa: S608 - likewise
_BY_ID = select(*COLUMNS).where(subjects.c.id == bindparam("subject_id"))
_OF_ACCOUNT = _BY_ID.where(subjects.c.account_id == bindparam("account"))
_LOCK = _BY_ID.with_for_update()


async def by_ids(tx: Connection, ids: Sequence[str]) -> dict[str, Subject]:
    """The subjects that have these ids of ours, by id."""
    found = [subject_of(row) for row in await tx.execute(_BY_IDS, {"ids": ids})]
    return {subject.id: subject for subject in found}


async def by_account_and_id(
    tx: Connection, wanted: Sequence[tuple[str, str]]
) -> list[Subject | None]:
    """The subject of each account and id of ours, in the order given; None where the account has
    none of this id."""
    found = await by_ids(tx, [id_ for _, id_ in wanted])
    some = [(account_id, found.get(id_)) for account_id, id_ in wanted]
    return [
        subject if subject and subject.account_id == account_id else None
        for account_id, subject in some
    ]


async def by_external_id(
    tx: Connection, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Subject]:
    """The subject of each account's id and external_task_id, where there is one."""
    values = {
        "accounts": [account_id for account_id, _ in wanted],
        "external_ids": [external_id for _, external_id in wanted],
    }
    found = [subject_of(row) for row in await tx.execute(_BY_EXTERNAL_ID, values)]
    return {(subject.account_id, str(subject.external_task_id)): subject for subject in found}


async def get(tx: Connection, subject_id: str, account_id: str | None = None) -> Subject | None:
    """By our id; with an account, only if it is that account's."""
    if account_id is None:
        return await _one(tx, _BY_ID, subject_id=subject_id)
    return await _one(tx, _OF_ACCOUNT, subject_id=subject_id, account=account_id)


async def lock(tx: Connection, subject_id: str) -> Subject | None:
    """Read for writing: nobody else moves it until this transaction ends."""
    return await _one(tx, _LOCK, subject_id=subject_id)


_OWNER = select(subjects.c.id).where(subjects.c.provider_task_id == bindparam("task"))


async def id_by_provider_task(tx: Connection, provider_task_id: str) -> str | None:
    """Whose task that is."""
    id_: str | None = await tx.scalar(_OWNER, {"task": provider_task_id})
    return id_


# The order of the ids keeps two batches that share subjects from waiting for each other.
_LOCK_ALL = text(f"""
    SELECT {", ".join(column.name for column in COLUMNS)} FROM subjects
    WHERE id = ANY (CAST(:ids AS text[]) || ARRAY(
        SELECT id FROM subjects WHERE provider_task_id = ANY (CAST(:provider_task_ids AS text[]))
    ))
    ORDER BY id FOR UPDATE
""")  # noqa: S608 - only our own column names are put in


async def lock_all(
    tx: Connection, *, ids: Sequence[str], provider_task_ids: Sequence[str]
) -> list[Subject]:
    """The same for several, by our ids and by the provider's."""
    values = {"ids": ids, "provider_task_ids": provider_task_ids}
    return [subject_of(row) for row in await tx.execute(_LOCK_ALL, values)]


# Accounts with something queued are found by skipping from one to the next in the index, so the
# cost follows the number of such accounts, not the length of the queue. It is in this whole order
# that only the one index has them: another would lead through all that an account ever had.
# A claim changes no key: it passes over none whose delivery is recorded at that moment, which holds
# the subject by FOR KEY SHARE; nobody might wake the worker for it again.
_CLAIM = text(f"""
    WITH RECURSIVE waiting AS (
        (
            SELECT account_id FROM subjects
            WHERE state = 'queued' AND media_check_at IS NULL
            ORDER BY account_id, available_at, id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT s.account_id FROM subjects s
            WHERE s.state = 'queued' AND s.media_check_at IS NULL AND s.account_id > w.account_id
            ORDER BY s.account_id, s.available_at, s.id LIMIT 1
        )
        FROM waiting w WHERE w.account_id IS NOT NULL
    ), candidates AS (
        SELECT s.id, a.last_claimed_at, row_number() OVER (
            PARTITION BY a.id ORDER BY s.available_at, s.id
        ) AS turn
        FROM waiting w
        JOIN accounts a ON a.id = w.account_id
        CROSS JOIN LATERAL (
            SELECT q.id, q.available_at FROM subjects q
            WHERE q.state = 'queued' AND q.media_check_at IS NULL
            AND q.account_id = a.id AND q.available_at <= :now
            ORDER BY q.available_at, q.id LIMIT :limit
        ) s
    ), locked AS (
        SELECT id FROM subjects
        WHERE state = 'queued' AND media_check_at IS NULL AND id IN (
            SELECT id FROM candidates ORDER BY turn, last_claimed_at NULLS FIRST, id LIMIT :limit
        )
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE subjects SET
            state = '{CLAIMED}', lease_token = :token, lease_until = :lease_until,
            claimed_at = :now, attempts = attempts + 1, updated_at = greatest(updated_at, :now)
        WHERE id IN (SELECT id FROM locked)
        RETURNING {", ".join(column.name for column in COLUMNS)}
    ), turns AS (
        UPDATE accounts SET last_claimed_at = :now WHERE id IN (  -- locked in order: see callers.py
            SELECT id FROM accounts WHERE id IN (SELECT account_id FROM claimed)
            ORDER BY id FOR NO KEY UPDATE
        )
    )
    SELECT * FROM claimed
""")  # noqa: S608 - only our own column names are put in


async def claim(
    tx: Connection, *, now: datetime, lease_until: datetime, token: str, limit: int
) -> list[Subject]:
    """Queued subjects that are due and have no media to be looked at first, under a lease; accounts
    take turns, each in order of age."""
    values = {"now": now, "lease_until": lease_until, "token": token, "limit": limit}
    return [subject_of(row) for row in await tx.execute(_CLAIM, values)]


async def expired_leases(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Claimed subjects whose lease has ended; their worker died or was stopped."""
    statement = (
        select(subjects.c.id)
        .where(text(f"state = '{State.SUBMITTING}'"), subjects.c.lease_until <= now)
        .order_by(subjects.c.lease_until)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]


async def past_deadline(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Unfinished subjects past their deadline."""
    statement = (
        select(subjects.c.id)
        .where(subjects.c.finished_at.is_(None), subjects.c.deadline <= now)
        .order_by(subjects.c.deadline)
        .limit(limit)
    )
    return [row[0] for row in await tx.execute(statement)]


_CLAIM_POLLS = text(f"""
    WITH due AS (
        SELECT id FROM subjects WHERE next_poll_at <= :now
        ORDER BY next_poll_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subjects SET next_poll_at = :hold_until, poll_count = poll_count + 1
    WHERE id IN (SELECT id FROM due)
    RETURNING {", ".join(column.name for column in COLUMNS)}
""")  # noqa: S608 - only our own column names are put in
_ASK_LATER = text("UPDATE subjects SET next_poll_at = :at WHERE id = :id AND next_poll_at = :held")
# IS TRUE keeps the index of all who wait out of it: a few ids are found by themselves.
_ASK_AT = text("""
    UPDATE subjects SET next_poll_at = :at
    WHERE id = ANY (CAST(:ids AS text[])) AND (next_poll_at > :at) IS TRUE
""")


async def claim_polls(
    tx: Connection, *, now: datetime, hold_until: datetime, limit: int
) -> list[Subject]:
    """Subjects nobody called back about in time, the longest overdue first. Nobody else asks for
    them until `hold_until`, unless there is a hint."""
    values = {"now": now, "hold_until": hold_until, "limit": limit}
    return [subject_of(row) for row in await tx.execute(_CLAIM_POLLS, values)]


async def reschedule_poll(tx: Connection, held: Subject, at: datetime) -> None:
    """Ask for this claimed one again, unless somebody wants it asked for sooner."""
    await tx.execute(_ASK_LATER, {"id": held.id, "held": held.next_poll_at, "at": at})


async def schedule_poll(tx: Connection, subject_ids: Sequence[str], at: datetime) -> None:
    """Ask for these by then, as far as they wait to be asked for; one that is due before keeps its
    place among those that wait."""
    if subject_ids:
        await tx.execute(_ASK_AT, {"ids": subject_ids, "at": at})


async def _one(tx: Connection, statement: Select[Any], **values: str) -> Subject | None:
    row = await tx.first(statement, values)
    return None if row is None else subject_of(row)


def subject_of(row: Sequence[Any]) -> Subject:
    """The columns are those of COLUMNS, which are Subject's fields in their order."""
    values = list(row)
    values[STATE] = State(values[STATE])
    return Subject(*values)
