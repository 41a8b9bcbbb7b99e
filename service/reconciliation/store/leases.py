"""Renewing leases: of submissions, media checks and deliveries, in one statement."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection

# A row that somebody has locked is skipped: its work is being recorded, or it is renewed the next
# time. So nothing waits here, and nothing can deadlock. IS TRUE keeps Postgres from using the
# indexes of all claimed rows: a few ids are found faster by their key.
_RENEW = text("""
    -- 1 the leases that the worker holds
    WITH held AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS text[])) AS held (id, token)
    ),
    -- 2 of subjects that it submits
    submissions AS (
        UPDATE subjects SET lease_until = :until WHERE id = ANY (ARRAY(
            SELECT q.id FROM held h CROSS JOIN LATERAL (
                SELECT id FROM subjects WHERE id = h.id
                AND (state = 'submitting' AND lease_token = h.token AND lease_until > :now) IS TRUE
                FOR NO KEY UPDATE SKIP LOCKED
            ) q
        ))
        RETURNING lease_token AS token, id
    ),
    -- 3 of subjects whose media it checks
    media_checks AS (
        UPDATE subjects SET media_check_at = :until WHERE id = ANY (ARRAY(
            SELECT q.id FROM held h CROSS JOIN LATERAL (
                SELECT id FROM subjects WHERE id = h.id
                AND (
                    state = 'queued' AND media_lease_token = h.token AND media_check_at > :now
                ) IS TRUE
                FOR NO KEY UPDATE SKIP LOCKED
            ) q
        ))
        RETURNING media_lease_token AS token, id
    ),
    -- 4 of deliveries that it sends
    sent AS (
        UPDATE deliveries SET due_at = :until WHERE id = ANY (ARRAY(
            SELECT q.id FROM held h CROSS JOIN LATERAL (
                SELECT id FROM deliveries WHERE id = h.id
                AND (state = 'pending' AND lease_token = h.token AND due_at > :now) IS TRUE
                FOR NO KEY UPDATE SKIP LOCKED
            ) q
        ))
        RETURNING lease_token AS token, id
    )
    SELECT * FROM submissions
    UNION ALL SELECT * FROM media_checks
    UNION ALL SELECT * FROM sent
""")


async def renew(
    tx: Connection, held: Sequence[tuple[str, str]], *, now: datetime, until: datetime
) -> set[tuple[str, str]]:
    """Let these leases, each a token and the id of its row, end at `until`; return those that were
    renewed. Not renewed are those that have expired by `now`, have another token, or are locked."""
    values = {
        "tokens": [token for token, _ in held],
        "ids": [id_ for _, id_ in held],
        "now": now,
        "until": until,
    }
    return {(token, id_) for token, id_ in await tx.execute(_RENEW, values)}
