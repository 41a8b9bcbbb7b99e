"""Claiming queued subjects under a lease; accounts take turns."""

from datetime import datetime

from sqlalchemy import text

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.operations.domain.hold import HoldTarget
from service.operations.store.holds import held_sql
from service.subjects.domain.lifecycle import Signal, State, decide
from service.subjects.domain.subject import Subject
from service.subjects.store.subjects import COLUMN_NAMES, subject_of

CLAIMED = decide(State.QUEUED, Signal.CLAIMED)

# Accounts with queued subjects are found by a loose index scan, from one account to the next: the
# cost follows the number of these accounts, not the length of the queue. The whole ORDER BY is that
# of the one index that can do so.
# FOR NO KEY UPDATE, as a claim changes no key: FOR UPDATE would skip a subject that a row is being
# written of, whose foreign key holds it FOR KEY SHARE, and nobody might notify workers of it again.
_CLAIM = text(f"""
    -- 1 whose submissions are held
    WITH RECURSIVE held AS ({held_sql(HoldTarget.SUBMISSIONS)}),
    -- 2 the accounts that have queued subjects
    waiting AS (
        (
            SELECT account_id FROM subjects
            WHERE state = 'queued' AND media_check_at IS NULL
            AND NOT EXISTS (SELECT FROM held WHERE account_id IS NULL) AND {AT_HOME}
            ORDER BY account_id, available_at, id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT s.account_id FROM subjects s
            WHERE s.state = 'queued' AND s.media_check_at IS NULL AND s.account_id > w.account_id
            ORDER BY s.account_id, s.available_at, s.id LIMIT 1
        )
        FROM waiting w WHERE w.account_id IS NOT NULL
    ),
    -- 3 the oldest due subjects of each, numbered
    candidates AS (
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
        WHERE a.id <> ALL (ARRAY(SELECT account_id FROM held))
    ),
    -- 4 the first of each account, then the second, …; first the account that waited longest
    locked AS (
        SELECT id FROM subjects
        WHERE state = 'queued' AND media_check_at IS NULL AND id IN (
            SELECT id FROM candidates ORDER BY turn, last_claimed_at NULLS FIRST, id LIMIT :limit
        )
        FOR NO KEY UPDATE SKIP LOCKED
    ),
    -- 5 the claim
    claimed AS (
        UPDATE subjects SET
            state = '{CLAIMED}', lease_token = :token, lease_until = :lease_until,
            claimed_at = :now, attempts = attempts + 1, updated_at = greatest(updated_at, :now)
        WHERE id IN (SELECT id FROM locked)
        RETURNING {COLUMN_NAMES}
    ),
    -- 6 the accounts have had their turn; they are locked in the order of their ids
    turns AS (
        UPDATE accounts SET last_claimed_at = :now WHERE id IN (
            SELECT id FROM accounts WHERE id IN (SELECT account_id FROM claimed)
            ORDER BY id FOR NO KEY UPDATE
        )
    )
    SELECT * FROM claimed
""")  # noqa: S608 - only our own column names are put in


async def claim(  # noqa: PLR0913 - one claim's worth
    tx: Connection, fence: Fence, *, now: datetime, lease_until: datetime, token: str, limit: int
) -> list[Subject]:
    """Claim at most `limit` queued subjects that are due and whose media are checked, under a lease
    with this token until `lease_until`. Accounts take turns; of each the oldest come first. No
    account whose submissions are held has one, and none has outside the fence."""
    values = {"now": now, "lease_until": lease_until, "token": token, "limit": limit}
    values |= fence.values()
    return [subject_of(row) for row in await tx.execute(_CLAIM, values)]
