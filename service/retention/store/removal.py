"""Deleting subjects, or events about subscribers, with all that is theirs; or counting it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import TextClause, text

from service.kit.database.connection import Connection
from service.retention.domain.kinds import Kind
from service.retention.store.old import OF_OWNER

_OWNERS = "unnest(CAST(:ids AS text[])) AS o (id)"
_EVENTS = {True: "subject_id", False: "id"}  # which column the ids are those of


def _deleted(table: str, id_column: str) -> TextClause:
    return text(f"""
        WITH deleted AS (
            DELETE FROM {table} t USING {_OWNERS} WHERE {OF_OWNER.format(f"t.{id_column}")}
            RETURNING 1
        )
        SELECT count(*) FROM deleted
    """)  # noqa: S608 - only our own words are put in


def _counted(table: str, id_column: str) -> TextClause:
    return text(f"""
        SELECT coalesce(sum(t.number), 0) FROM {_OWNERS}
        CROSS JOIN LATERAL (
            SELECT count(*) AS number FROM {table} WHERE {OF_OWNER.format(id_column)}
        ) t
    """)  # noqa: S608 - likewise


_TABLES = {Kind.ATTEMPTS: ("attempts", "delivery_id"), Kind.DELIVERIES: ("deliveries", "id")}
_DELETE = {kind: _deleted(*table) for kind, table in _TABLES.items()}
_COUNT = {kind: _counted(*table) for kind, table in _TABLES.items()}
_COUNT_EVENTS = text("""
    SELECT count(*) FROM events WHERE subject_id = ANY (CAST(:ids AS text[]))
""")
# What a feed has lost is noted with it: the last of each account, and of all (event_feed reads
# it). Accounts are locked in the order of their ids, as by all who lock several.
_DELETE_EVENTS = {
    of_subjects: text(f"""
        WITH deleted AS (
            DELETE FROM events WHERE {column} = ANY (CAST(:ids AS text[]))
            RETURNING account_id, xid, position
        ), lasts AS (
            SELECT DISTINCT ON (account_id) account_id, xid, position FROM deleted
            ORDER BY account_id, xid DESC, position DESC
        ), locked AS (
            SELECT a.id, l.xid, l.position FROM lasts l JOIN accounts a ON a.id = l.account_id
            WHERE a.pruned_xid IS NULL OR (a.pruned_xid, a.pruned_position) < (l.xid, l.position)
            ORDER BY a.id FOR NO KEY UPDATE OF a
        ), noted AS (
            UPDATE accounts a SET pruned_xid = l.xid, pruned_position = l.position
            FROM locked l WHERE a.id = l.id
        ), noted_of_all AS (
            UPDATE installation i SET pruned_xid = l.xid, pruned_position = l.position
            FROM (SELECT xid, position FROM lasts ORDER BY xid DESC, position DESC LIMIT 1) l
            WHERE i.id = 1
            AND (i.pruned_xid IS NULL OR (i.pruned_xid, i.pruned_position) < (l.xid, l.position))
        )
        SELECT count(*) FROM deleted
    """)  # noqa: S608 - likewise
    for of_subjects, column in _EVENTS.items()
}
_DELETE_SUBJECTS = text("""
    WITH erased AS (DELETE FROM erasures WHERE subject_id = ANY (CAST(:ids AS text[])))
    DELETE FROM subjects WHERE id = ANY (CAST(:ids AS text[]))
""")


async def delete(tx: Connection, kind: Kind, ids: Sequence[str]) -> Mapping[Kind, int]:
    """Delete subjects, or events about subscribers, that this transaction has locked, with their
    deliveries and attempts, and subjects' events. How many of each kind that are."""
    values = {"ids": list(ids)}
    # An attempt goes before its delivery, so that no cascade has anything left to do.
    deleted = {child: int(await tx.scalar(_DELETE[child], values)) for child in _TABLES}
    if kind is Kind.SUBSCRIBER_EVENTS:
        return deleted | {kind: int(await tx.scalar(_DELETE_EVENTS[False], values))}
    events = int(await tx.scalar(_DELETE_EVENTS[True], values))
    await tx.execute(_DELETE_SUBJECTS, values)
    return deleted | {Kind.EVENTS: events, kind: len(ids)}


async def count(tx: Connection, kind: Kind, ids: Sequence[str]) -> Mapping[Kind, int]:
    """What `delete` would delete."""
    values = {"ids": list(ids)}
    found = {child: int(await tx.scalar(_COUNT[child], values)) for child in _TABLES}
    if kind is not Kind.SUBSCRIBER_EVENTS:
        found[Kind.EVENTS] = int(await tx.scalar(_COUNT_EVENTS, values))
    return found | {kind: len(ids)}
