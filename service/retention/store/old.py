"""What is old enough to be pruned and has deliveries: finished subjects, by outcome, and events
about subscribers. Both are read by age, then locked, and what must be kept is passed over.

Whoever prunes waits for nobody who holds subjects, events or deliveries: those are passed over
(SKIP LOCKED), so that no deadlock can come of it.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import TextClause, text

from service.kit.database.connection import Connection
from service.retention.domain.kinds import OUTCOMES, Kind
from service.retention.store.walks import Walk

# A delivery's id is `dlv_`, what follows `evt_` in its event's id, `_`, and the subscriber's; and
# an event's begins with its subject's. So the deliveries of a subject `sub_1`, or of an event
# `evt_1_1`, are a range of the primary key: the character after `_` is "`".
OF_OWNER = """{0} > 'dlv_' || substr(o.id, 5) || '_' AND {0} < 'dlv_' || substr(o.id, 5) || '`'"""


def _page(table: str, column: str, condition: str) -> TextClause:
    """The next in the order of their age; each condition is that of an index."""
    return text(f"""
        SELECT id, {column} FROM {table}
        WHERE {condition}
        AND ({column}, id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS text))
        AND {column} < :before
        ORDER BY {column}, id LIMIT :limit
    """)  # noqa: S608 - only our own words are put in


_PAGES = {
    kind: _page("subjects", "finished_at", f"state = '{state}' AND finished_at IS NOT NULL")
    for state, kind in OUTCOMES.items()
} | {Kind.SUBSCRIBER_EVENTS: _page("events", "created_at", "subject_id IS NULL")}
# A subject stays while the provider is still to be asked to delete what it made; and what tells of
# its erasure is not older than that.
_SUBJECTS = """
    SELECT id FROM subjects s
    WHERE id = ANY (CAST(:ids AS text[])) AND finished_at < :before
    AND (erased_at IS NULL OR erased_at < :before)
    AND NOT EXISTS (SELECT FROM erasures WHERE subject_id = s.id AND state = 'pending')
    ORDER BY id
"""
_EVENTS = """
    SELECT id FROM events WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id
"""
_FOUND = {True: text(_SUBJECTS), False: text(_EVENTS)}
_LOCK = {
    True: text(f"{_SUBJECTS} FOR UPDATE OF s SKIP LOCKED"),
    False: text(f"{_EVENTS} FOR UPDATE SKIP LOCKED"),
}
_DELIVERIES = f"""
    deliveries_of AS MATERIALIZED (
        SELECT o.id AS owner_id, d.id, d.state FROM unnest(CAST(:ids AS text[])) AS o (id)
        CROSS JOIN LATERAL (
            SELECT id, state FROM deliveries WHERE {OF_OWNER.format("id")} ORDER BY id
        ) d
    )
"""  # noqa: S608 - our own words
_PENDING = text(f"""
    WITH {_DELIVERIES} SELECT DISTINCT owner_id FROM deliveries_of WHERE state = 'pending'
""")  # noqa: S608 - likewise
# One that somebody else has locked may be pending again at the next moment.
_LOCK_DELIVERIES = text(f"""
    WITH {_DELIVERIES}, locked AS (
        SELECT id FROM deliveries
        WHERE id = ANY (ARRAY(SELECT id FROM deliveries_of WHERE state <> 'pending'))
        AND state <> 'pending'
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    SELECT DISTINCT owner_id FROM deliveries_of WHERE id NOT IN (SELECT id FROM locked)
""")  # noqa: S608 - likewise


async def page(
    tx: Connection, kind: Kind, walk: Walk, before: datetime, limit: int
) -> list[tuple[str, datetime]]:
    """The next `limit` of a walk that ended before a time: of each its id, and when it ended.
    Nothing is locked."""
    values = {
        "after_at": walk.after_at,
        "after_id": walk.after_id,
        "before": before,
        "limit": limit,
    }
    return [(id_, ended_at) for id_, ended_at in await tx.execute(_PAGES[kind], values)]


async def removable(
    tx: Connection, kind: Kind, ids: Sequence[str], before: datetime, *, lock: bool
) -> list[str]:
    """Those of these ids that may go: without a pending delivery, nor a pending erasure.

    With `lock` they and their deliveries are locked until this transaction ends, and what others
    have locked is left out.
    """
    are_subjects = kind is not Kind.SUBSCRIBER_EVENTS
    values = {"ids": list(ids)} | ({"before": before} if are_subjects else {})
    rows = await tx.execute((_LOCK if lock else _FOUND)[are_subjects], values)
    found = [id_ for (id_,) in rows]
    kept = await tx.execute(_LOCK_DELIVERIES if lock else _PENDING, {"ids": found})
    return sorted(set(found) - {id_ for (id_,) in kept})
