"""Subjects: read, locked and claimed. How they are made is in insert.py, how they move in
moves.py."""

from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.lifecycle import Signal, State, decide
from service.subjects.domain.subject import Subject
from service.subjects.store.subjects import COLUMNS, subject_of

CLAIMED = decide(State.QUEUED, Signal.CLAIMED)


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
