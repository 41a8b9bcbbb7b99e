"""What waits in each stage, counted up to a limit: each statement reads so many index entries, and
no more however many rows the tables have."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.snapshot import MAX_COUNTED, Waiting
from service.operations.domain.stages import Stage

MAX_SUBSCRIBERS = 100_000  # with anything pending, that are looked at

# Of each state the subjects with the earliest deadlines are read, which are the oldest. The state
# is not written out, as then an index of the queue would serve too, and it has neither the
# deadlines nor the times: all of a long queue would be read.
_SUBJECTS = text("""
    WITH states (stage, state) AS (VALUES
        ('queued', 'queued'),
        ('submitting', 'submitting'),
        ('unconfirmed', 'unconfirmed'),
        ('with_provider', 'submitted'),
        ('with_provider', 'processing')
    )
    SELECT stage, least(count(*), :most), min(
        CASE
            WHEN stage IN ('media_check', 'queued') THEN created_at
            WHEN stage = 'unconfirmed' THEN updated_at
            ELSE coalesce(claimed_at, updated_at)
        END
    )
    FROM (
        SELECT f.stage, q.created_at, q.updated_at, q.claimed_at
        FROM states f CROSS JOIN LATERAL (
            SELECT s.created_at, s.updated_at, s.claimed_at FROM subjects s
            WHERE s.state = f.state AND s.finished_at IS NULL AND s.media_check_at IS NULL
            ORDER BY s.deadline LIMIT :most
        ) q
        UNION ALL
        SELECT CASE f.stage WHEN 'queued' THEN 'media_check' ELSE f.stage END,
            q.created_at, q.updated_at, q.claimed_at
        FROM states f CROSS JOIN LATERAL (
            SELECT s.created_at, s.updated_at, s.claimed_at FROM subjects s
            WHERE s.state = f.state AND s.finished_at IS NULL AND s.media_check_at IS NOT NULL
            ORDER BY s.deadline LIMIT :most
        ) q
    ) found
    GROUP BY stage
""")
_POLL_DUE = text("""
    SELECT count(*), min(next_poll_at) FROM (
        SELECT next_poll_at FROM subjects WHERE next_poll_at <= :now
        ORDER BY next_poll_at LIMIT :most
    ) due
""")
_DELIVERY_DUE = text("""
    WITH RECURSIVE
    -- 1 who has something pending, and since when the first of it is due, found by skipping from
    -- one subscriber to the next in the index
    pending AS (
        (
            SELECT subscriber_id, due_at FROM deliveries
            WHERE state = 'pending' AND due_at IS NOT NULL ORDER BY subscriber_id, due_at LIMIT 1
        )
        UNION ALL
        SELECT n.subscriber_id, n.due_at FROM pending p CROSS JOIN LATERAL (
            SELECT d.subscriber_id, d.due_at FROM deliveries d
            WHERE d.state = 'pending' AND d.due_at IS NOT NULL AND d.subscriber_id > p.subscriber_id
            ORDER BY d.subscriber_id, d.due_at LIMIT 1
        ) n
    ),
    -- 2 those with something due
    due AS (
        SELECT subscriber_id, due_at FROM (SELECT * FROM pending LIMIT :subscribers) p
        WHERE due_at <= :now
    )
    -- 3 what is due to them
    SELECT count(*), (SELECT min(due_at) FROM due) FROM (
        SELECT FROM due CROSS JOIN LATERAL (
            SELECT FROM deliveries d
            WHERE d.subscriber_id = due.subscriber_id AND d.state = 'pending' AND d.due_at <= :now
            ORDER BY d.due_at LIMIT :most
        ) q
        LIMIT :most
    ) counted
""")
# What was replayed waits since then; only if the limit is reached may an older one be missed.
_DELIVERY_RETRYING = text("""
    SELECT count(*), min(coalesce(replayed_at, created_at)) FROM (
        SELECT created_at, replayed_at FROM deliveries
        WHERE state = 'pending' AND attempts > attempts_at_replay
        ORDER BY created_at LIMIT :most
    ) retrying
""")
# One that the provider stopped is tried now and then, alone: it waits since it was asked for.
_ERASURE_DUE = text("""
    SELECT count(*), min(since) FROM (
        (
            SELECT next_try_at AS since FROM erasures
            WHERE state = 'pending' AND next_try_at <= :now AND NOT stopped
            ORDER BY next_try_at LIMIT :most
        )
        UNION ALL
        (SELECT requested_at FROM erasures WHERE stopped ORDER BY next_try_at LIMIT :most)
    ) due
""")


async def read(tx: Connection, now: datetime) -> Mapping[str, Waiting]:
    """What waits now, by Stage; all of them are there."""
    most = {"most": MAX_COUNTED}
    due = {**most, "now": now}
    found: dict[str, Waiting] = {stage: Waiting(0, None) for stage in Stage}
    found |= {
        stage: Waiting(items, oldest_at)
        for stage, items, oldest_at in await tx.execute(_SUBJECTS, most)
    }
    found[Stage.POLL_DUE] = Waiting(*await tx.first(_POLL_DUE, due))
    found[Stage.ERASURE_DUE] = Waiting(*await tx.first(_ERASURE_DUE, due))
    due["subscribers"] = MAX_SUBSCRIBERS
    found[Stage.DELIVERY_DUE] = Waiting(*await tx.first(_DELIVERY_DUE, due))
    found[Stage.DELIVERY_RETRYING] = Waiting(*await tx.first(_DELIVERY_RETRYING, most))
    return found
