"""Ending what a copy brought along from the database it was copied from, in batches by index."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.delivery.store.pending import waiting_sql
from service.erasure.domain.erasure import ErasureState
from service.kit.database.connection import Connection
from service.operations.domain.operation import OperationState, StopReason

# Of each ordering key the last goes first: what is left, should this be cut off, begins with one
# that has a due time.
_CANCEL = text(f"""
    WITH RECURSIVE
    -- 1 who has something pending
    {waiting_sql()},
    -- 2 theirs are canceled
    canceled AS (
        UPDATE deliveries SET
            state = 'canceled', due_at = NULL, lease_token = NULL, finished_at = :now
        WHERE id = ANY (ARRAY(
            SELECT q.id FROM waiting w CROSS JOIN LATERAL (
                SELECT d.id FROM deliveries d
                WHERE d.subscriber_id = w.subscriber_id AND d.state = 'pending'
                ORDER BY d.ordering_key DESC, d.sequence DESC LIMIT :limit FOR UPDATE
            ) q
            LIMIT :limit
        ))
        RETURNING id
    )
    SELECT count(*) FROM canceled
""")  # noqa: S608 - only our own words are put in
_PAUSE = text("""
    WITH paused AS (
        UPDATE subscribers SET state = 'paused', state_since = :now, version = version + 1
        WHERE id = ANY (ARRAY(
            SELECT id FROM subscribers
            WHERE type IN ('webhook', 'nats', 'redis_stream') AND state = 'active'
            ORDER BY id LIMIT :limit FOR NO KEY UPDATE
        ))
        RETURNING id
    )
    SELECT count(*) FROM paused
""")
_STOP_OPERATIONS = text(f"""
    WITH stopped AS (
        UPDATE operations SET
            state = '{OperationState.STOPPED}', stop_reason = '{StopReason.LEFT_BEHIND}',
            next_step_at = NULL, lease_token = NULL, finished_at = :now
        WHERE id = ANY (ARRAY(
            SELECT id FROM operations WHERE state = 'running'
            ORDER BY next_step_at LIMIT :limit FOR UPDATE
        ))
        RETURNING id
    )
    SELECT count(*) FROM stopped
""")  # noqa: S608 - only our own words are put in
_END_ERASURES = text(f"""
    WITH ended AS (
        UPDATE erasures SET
            state = '{ErasureState.FAILED}', stopped = false, error = :error,
            next_try_at = NULL, lease_token = NULL, finished_at = :now
        WHERE subject_id = ANY (ARRAY(
            SELECT subject_id FROM erasures WHERE state = 'pending'
            ORDER BY subject_id LIMIT :limit FOR UPDATE
        ))
        RETURNING subject_id
    )
    SELECT count(*) FROM ended
""")  # noqa: S608 - likewise
_MOVE_IN = text("""
    UPDATE installation SET installation_id = :id, public_url = :home_url, last_moment = :now,
        held_reason = NULL, held_since = NULL
    WHERE id = 1
""")


async def cancel_deliveries(tx: Connection, now: datetime, limit: int) -> int:
    """Cancel at most `limit` pending deliveries; how many these were."""
    return int(await tx.scalar(_CANCEL, {"now": now, "limit": limit}))


async def pause_subscribers(tx: Connection, now: datetime, limit: int) -> int:
    """Pause at most `limit` active subscribers, but none of those that stand for callback_urls; how
    many these were."""
    return int(await tx.scalar(_PAUSE, {"now": now, "limit": limit}))


async def stop_operations(tx: Connection, now: datetime, limit: int) -> int:
    """Stop at most `limit` bulk operations that run; how many these were."""
    return int(await tx.scalar(_STOP_OPERATIONS, {"now": now, "limit": limit}))


async def end_erasures(tx: Connection, now: datetime, limit: int, error: Mapping[str, Any]) -> int:
    """End at most `limit` pending deletions at the provider as failed, with this error; how many
    these were."""
    values = {"now": now, "limit": limit, "error": error}
    return int(await tx.scalar(_END_ERASURES, values))


async def move_in(tx: Connection, installation_id: str, home_url: str, now: datetime) -> None:
    """Make the database another installation, at home at this URL, and held no more."""
    await tx.execute(_MOVE_IN, {"id": installation_id, "home_url": home_url, "now": now})
