"""What a snapshot tells beside the stages: subscribers by their condition, how large the tables
are, and the oldest transaction."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.snapshot import MAX_COUNTED, SubscriberCondition
from service.schema import metadata

_LIMIT_TIME = text("SELECT set_config('statement_timeout', :most, true)")
# In the order of SubscriberCondition. Not sorted: any index that would have that order has hidden
# ones too, however many there are.
_SUBSCRIBERS = text("""
    SELECT condition, count(*) FROM (
        SELECT CASE
            WHEN s.state = 'disabled' THEN 'disabled'
            WHEN s.state = 'paused' THEN 'paused'
            WHEN h.circuit_open_until IS NOT NULL THEN 'circuit_open'
            WHEN h.failures > 0 THEN 'failing'
            WHEN h.current_rate IS NOT NULL THEN 'slowed'
            ELSE 'healthy'
        END AS condition
        FROM (
            SELECT id, state FROM subscribers WHERE type IN ('webhook', 'nats', 'redis_stream')
            LIMIT :most
        ) s
        LEFT JOIN subscriber_health h ON h.subscriber_id = s.id
    ) found
    GROUP BY condition
""")
_TABLE_BYTES = text("""
    SELECT name, pg_total_relation_size(to_regclass(name))
    FROM unnest(CAST(:names AS text[])) name WHERE to_regclass(name) IS NOT NULL
""")
# Postgres shows it of the sessions of our own role, which are the service's; of others only to a
# member of pg_read_all_stats.
_OLDEST_TRANSACTION = text("""
    SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid()
""")


async def limit_time(tx: Connection, most: timedelta) -> None:
    """Let no further statement of this transaction take longer, waits for locks included."""
    await tx.execute(_LIMIT_TIME, {"most": f"{most.total_seconds() * 1000:.0f}"})


async def subscribers(tx: Connection) -> Mapping[str, int]:
    """How many subscribers are in each SubscriberCondition, of MAX_COUNTED at most; those that
    stand for callback_urls are left out."""
    found = await tx.execute(_SUBSCRIBERS, {"most": MAX_COUNTED})
    return {**dict.fromkeys(SubscriberCondition, 0), **dict(found)}


async def table_bytes(tx: Connection) -> Mapping[str, int]:
    """The bytes of each of our tables, with its indexes and its large values."""
    return dict(await tx.execute(_TABLE_BYTES, {"names": sorted(metadata.tables)}))


async def oldest_transaction_at(tx: Connection) -> datetime | None:
    """When the oldest transaction began that is under way in this database, but for the caller's;
    None if there is none."""
    began: datetime | None = await tx.scalar(_OLDEST_TRANSACTION)
    return began
