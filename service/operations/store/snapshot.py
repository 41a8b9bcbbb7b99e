"""The table `snapshot`, of one row, and the stages of each minute: who takes the next snapshot, and
what it found."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.operations.domain.snapshot import TAKEN_EVERY, Gauges, Snapshot, Waiting

TAKING_TIME = timedelta(seconds=30)  # whoever has taken that long has died: another takes over

# A time in the future was written by a wrong clock, and would put the next snapshot off: it is
# ignored.
_START_IF_DUE = text("""
    UPDATE snapshot SET started_at = :now
    WHERE id = 1
    AND (taken_at IS NULL OR taken_at <= :due OR taken_at >= :not_due)
    AND (started_at IS NULL OR started_at <= :over OR started_at >= :not_over)
    RETURNING id
""")
# The first of a minute makes the minute's rows. Whoever was taken over writes nothing.
_COLUMNS = {"stage": "text", "items": "int", "oldest_at": "timestamptz"}
_MINUTE = "date_trunc('minute', CAST({} AS timestamptz), 'UTC')"
_WRITE = text(f"""
    WITH written AS (
        UPDATE snapshot SET started_at = NULL, taken_at = started_at, gauges = :gauges
        WHERE id = 1 AND started_at = :started_at
        RETURNING taken_at
    )
    INSERT INTO stage_snapshots (minute, stage, items, oldest_at)
    SELECT {_MINUTE.format("w.taken_at")}, stages.stage, stages.items, stages.oldest_at
    FROM written w CROSS JOIN {from_rows("stages", _COLUMNS)}
    ON CONFLICT (minute, stage)
    DO UPDATE SET items = excluded.items, oldest_at = excluded.oldest_at
""")  # noqa: S608 - only our own column names are put in
_READ = text(f"""
    SELECT s.taken_at, s.gauges, s.audit, s.audited_at, (
        SELECT jsonb_object_agg(
            m.stage, jsonb_build_object('items', m.items, 'oldest_at', m.oldest_at)
        )
        FROM stage_snapshots m WHERE m.minute = {_MINUTE.format("s.taken_at")}
    )
    FROM snapshot s WHERE s.id = 1 AND s.taken_at IS NOT NULL
""")  # noqa: S608 - likewise
_PRUNE = text("""
    WITH deleted AS (
        DELETE FROM stage_snapshots WHERE minute = ANY (ARRAY(
            SELECT minute FROM stage_snapshots WHERE minute < :before ORDER BY minute LIMIT :limit
        ))
        RETURNING minute
    )
    SELECT count(*) FROM deleted
""")


async def start_if_due(tx: Connection, now: datetime) -> bool:
    """Whether the caller is to take a snapshot now: true for one caller, once TAKEN_EVERY has gone
    by. It has TAKING_TIME; then it may be another's turn."""
    values = {
        "now": now,
        "due": now - TAKEN_EVERY,
        "not_due": now + TAKEN_EVERY,
        "over": now - TAKING_TIME,
        "not_over": now + TAKING_TIME,
    }
    return await tx.first(_START_IF_DUE, values) is not None


async def write(
    tx: Connection, started_at: datetime, stages: Mapping[str, Waiting], gauges: Gauges
) -> None:
    """Write the snapshot that the caller began at `started_at`; nothing if another has begun one
    since. The stages take the place of those found earlier in the same minute."""
    rows = [{"stage": stage, **msgspec.structs.asdict(found)} for stage, found in stages.items()]
    values = {
        "started_at": started_at,
        "stages": encode_rows(rows),
        "gauges": msgspec.to_builtins(gauges),
    }
    await tx.execute(_WRITE, values)


async def read(tx: Connection) -> Snapshot | None:
    """The newest snapshot; None if none was taken yet."""
    row = await tx.first(_READ)
    if row is None:
        return None
    taken_at, gauges, audit, audited_at, stages = row
    return Snapshot(
        taken_at,
        msgspec.convert(stages or {}, dict[str, Waiting]),
        msgspec.convert(gauges, Gauges),
        audit,
        audited_at,
    )


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest minutes before a time, of `limit` rows; how many rows these were."""
    return int(await tx.scalar(_PRUNE, {"before": before, "limit": limit}))
