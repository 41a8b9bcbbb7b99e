"""Leases renewed: the ends of what a worker holds of all three kinds, in one statement."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection

# A row whose lease ran out is let be, and so is one that somebody has locked at this moment: it is
# being recorded, or is renewed the next time. So nobody waits here, nor in a circle. IS TRUE keeps
# the indexes of all that is under way out: a few ids are found by themselves.
_RENEW = text("""
    WITH held AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS text[])) AS held (id, token)
    ), submissions AS (
        UPDATE subjects SET lease_until = :until WHERE id = ANY (ARRAY(
            SELECT q.id FROM held h CROSS JOIN LATERAL (
                SELECT id FROM subjects WHERE id = h.id
                AND (state = 'submitting' AND lease_token = h.token AND lease_until > :now) IS TRUE
                FOR NO KEY UPDATE SKIP LOCKED
            ) q
        ))
        RETURNING lease_token AS token, id
    ), media_checks AS (
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
    ), sent AS (
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
    """Move the ends of these leases, each a token and the id of its row, to `until`; which were
    moved. Not moved: what ran out by `now`, has another token, or is being written."""
    values = {
        "tokens": [token for token, _ in held],
        "ids": [id_ for _, id_ in held],
        "now": now,
        "until": until,
    }
    return {(token, id_) for token, id_ in await tx.execute(_RENEW, values)}
