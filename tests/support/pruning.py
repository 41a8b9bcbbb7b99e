"""Events pruned as the pruner does it: the horizon moves in the transaction that deletes them."""

import asyncpg

from service.resources import Resources

_PRUNE = """
    WITH gone AS (
        DELETE FROM events WHERE subject_id = ANY ($1) RETURNING account_id, xid, position
    ), last AS (
        SELECT DISTINCT ON (account_id) account_id, xid, position FROM gone
        ORDER BY account_id, xid DESC, position DESC
    ), of_accounts AS (
        UPDATE accounts a SET pruned_xid = l.xid, pruned_position = l.position
        FROM last l WHERE a.id = l.account_id
        AND (a.pruned_xid IS NULL OR (a.pruned_xid, a.pruned_position) < (l.xid, l.position))
    ), subjects_gone AS (
        DELETE FROM subjects WHERE id = ANY ($1)
    )
    UPDATE installation i SET pruned_xid = l.xid, pruned_position = l.position
    FROM (SELECT * FROM last ORDER BY xid DESC, position DESC LIMIT 1) l
    WHERE i.pruned_xid IS NULL OR (i.pruned_xid, i.pruned_position) < (l.xid, l.position)
"""


async def prune_subjects(resources: Resources, *subject_ids: str) -> None:
    """Prune these subjects with their events."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(_PRUNE, subject_ids)
    finally:
        await connection.close()
