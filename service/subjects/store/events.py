"""Events, and a delivery of each to every subscriber that wants it, written together. Event feeds
and workers are notified by the same statement, so that they hear of it when it commits."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import columns_of, encode_rows, from_rows
from service.schema.transaction_ids import CURRENT, event_xid
from service.subjects.domain.event import Event
from service.subjects.domain.work import Work, encode_work
from service.subjects.store.work import WORK_CHANNEL

NOTIFY_CHANNEL = "callsheet_events"  # notified of each batch of events, for the event feed
MAX_FOLLOWED = 100  # deliveries of one subject to one subscriber; it has six events at most
MAX_NOTIFY_BYTES = 7000  # bytes of account ids; Postgres takes 7,999, and an empty list means all


class NewEvent(Struct, frozen=True):
    """An event to write, and whom to deliver it to beside the subscribers that want it."""

    event: Event  # with the body that is sent
    # Id of the hidden subscriber of the subject's callback_url, and that URL; None: has none.
    callback: tuple[str, str] | None = None


class _Row(Struct, omit_defaults=True):
    """An event as it is written, and what decides who is sent it."""

    id: str
    account_id: str
    sequence: int
    type: str
    created_at: datetime
    subject_id: str | None = None
    reference_type: str | None = None
    tags: Sequence[str] | None = None
    about_subscriber_id: str | None = None
    callback_subscriber_id: str | None = None
    callback_url: str | None = None


_COLUMNS = columns_of(_Row)
# Whether a subscriber s of the same account wants an event e, which is about the subject b or about
# another subscriber (e.about_subscriber_id).
WANTS_EVENT = """
    (s.event_types IS NULL OR e.type = ANY (s.event_types))
    AND CASE WHEN e.subject_id IS NULL THEN s.id <> e.about_subscriber_id
        ELSE (s.reference_types IS NULL OR b.reference_type = ANY (s.reference_types))
        AND (s.tags IS NULL OR b.tags && s.tags)
    END
"""


def delivery_id_sql(event_id: str, subscriber_id: str) -> str:
    """The SQL of a delivery's id: it names the event and the subscriber, of which there is never a
    second delivery. Both parameters are SQL."""
    return f"'dlv_' || substr({event_id}, 5) || '_' || substr({subscriber_id}, 5)"


def write_events(condition: str = "true") -> str:
    """Common table expressions that write events, and a delivery to each subscriber that wants
    them; nothing is written, and nobody notified, unless this SQL condition is true.

    A delivery behind an unfinished one of its subject gets its due time when that one ends. Events
    about a subscriber are not in order: each is a sequence of its own.
    """
    return f"""
    -- 1 the events, as they were given
    new AS (
        SELECT * FROM {from_rows("new_events", _COLUMNS, bytea="event_bodies")}
        WHERE {condition}
    ),
    -- 2 each is written; the feed has it after the one before of its subject: see feed.py
    written AS (
        INSERT INTO events
            (id, subject_id, about_subscriber_id, account_id, sequence, type, body, created_at, xid)
        SELECT id, subject_id, about_subscriber_id, account_id, sequence, type, bytes, created_at,
            greatest({event_xid(CURRENT)}, (
                SELECT e.xid FROM events e WHERE e.subject_id = new.subject_id
                ORDER BY e.sequence DESC LIMIT 1
            ))
        FROM new ORDER BY subject_id, sequence
    ),
    -- 3 the subscribers, kept from being disabled or removed until the deliveries are written
    listening AS (
        SELECT s.id, s.account_id, s.event_types, s.reference_types, s.tags, s.ordering
        FROM subscribers s
        WHERE s.account_id IN (SELECT account_id FROM new) AND s.state <> 'disabled'
        AND s.type <> 'callback'
        ORDER BY s.id FOR SHARE
    ),
    -- 4 the subscribers that want each event, and the callback_url of its subject's own request.
    -- Those in one line are sent in order; what is not to be is in a line of its own
    wanted AS (
        SELECT e.id, e.subject_id, e.sequence, e.created_at,
            s.id AS subscriber_id, NULL AS url,
            CASE WHEN s.ordering = 'per_subject' THEN coalesce(e.subject_id, e.id) ELSE e.id
                END AS line
        FROM new e JOIN listening s ON s.account_id = e.account_id
        CROSS JOIN LATERAL (SELECT e.reference_type, e.tags) b
        WHERE {WANTS_EVENT}
        UNION ALL
        SELECT id, subject_id, sequence, created_at, callback_subscriber_id,
            callback_url, subject_id
        FROM new WHERE callback_subscriber_id IS NOT NULL
    ),
    -- 5 the unfinished deliveries that those come behind, told so, in the order of their ids. One
    -- that is recorded meanwhile is waited for, and left out if it has ended: whoever ends one
    -- knows what waits behind it (delivery/store/record.py)
    followed AS (
        UPDATE deliveries SET followers = followers + 1 WHERE id = ANY (ARRAY(
            SELECT id FROM deliveries
            WHERE id = ANY (ARRAY(
                SELECT q.id FROM wanted w CROSS JOIN LATERAL (
                    -- its order is that of the one index that leads there directly
                    SELECT d.id FROM deliveries d
                    WHERE d.subscriber_id = w.subscriber_id AND d.ordering_key = w.line
                    AND d.state = 'pending'
                    ORDER BY d.sequence LIMIT {MAX_FOLLOWED}
                ) q
            ))
            AND (state = 'pending') IS TRUE
            ORDER BY id FOR NO KEY UPDATE
        ))
        RETURNING subscriber_id, ordering_key
    ),
    -- 6 the deliveries; one behind an unfinished one of its subject has no due time yet
    added_deliveries AS (
        INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, url, state,
            due_at, followers, created_at)
        SELECT
            {delivery_id_sql("id", "subscriber_id")}, id, subscriber_id,
            coalesce(subject_id, id), sequence, url, 'pending',
            CASE WHEN place > 1 OR (subscriber_id, line) IN (
                SELECT subscriber_id, ordering_key FROM followed
            ) THEN NULL ELSE created_at END,
            number - place, created_at
        FROM (
            SELECT *, row_number() OVER (PARTITION BY subscriber_id, line ORDER BY sequence)
                AS place, count(*) OVER (PARTITION BY subscriber_id, line) AS number
            FROM wanted
        ) w
        RETURNING due_at
    ),
    -- 7 what is to be told: to feeds the accounts, to workers that deliveries are due, or that a
    -- claim passed over some as they were locked here, and the work that the caller names
    notices AS (
        SELECT string_agg(DISTINCT account_id, ',') AS accounts,
            concat_ws(',', CASE WHEN {condition} THEN nullif(CAST(:work AS text), '') END, (
                SELECT '{Work.DELIVER}' WHERE EXISTS (SELECT FROM followed)
                OR EXISTS (SELECT FROM added_deliveries WHERE due_at IS NOT NULL)
            )) AS kinds
        FROM new
    ),
    -- 8 both are notified, once for all
    notified AS (
        SELECT
            CASE WHEN accounts <> '' THEN pg_notify('{NOTIFY_CHANNEL}', CASE
                WHEN octet_length(accounts) < {MAX_NOTIFY_BYTES} THEN accounts ELSE '' END) END,
            CASE WHEN kinds <> '' THEN pg_notify('{WORK_CHANNEL}', kinds) END
        FROM notices
    )
"""  # noqa: S608 - only our own names are put in


# What a statement with `write_events` must select: Postgres runs no SELECT in WITH that none reads.
NOTIFIED = "(SELECT count(*) FROM notified)"
_APPEND = text(f"WITH {write_events()} SELECT {NOTIFIED}")


def event_values(new: Sequence[NewEvent], work: Collection[Work] = ()) -> dict[str, Any]:
    """The parameters of `write_events`; `work` is what there is to do beside deliveries."""
    return {
        "work": encode_work(work),
        "new_events": encode_rows([_row(new_event) for new_event in new]),
        "event_bodies": [new_event.event.body for new_event in new],
    }


def _row(new_event: NewEvent) -> _Row:
    event = new_event.event
    subscriber_id, url = new_event.callback or (None, None)
    return _Row(
        id=event.id,
        account_id=event.account_id,
        sequence=event.sequence,
        type=event.type,
        created_at=event.created_at,
        subject_id=event.subject_id,
        reference_type=event.reference_type,
        tags=event.tags or None,
        about_subscriber_id=event.about_subscriber_id,
        callback_subscriber_id=subscriber_id,
        callback_url=url,
    )


async def append(tx: Connection, new: Sequence[NewEvent], work: Collection[Work] = ()) -> None:
    """Write events and their deliveries. Workers are notified of those, and of `work`. The subjects
    must be new in this transaction: transitions.py writes the events of older ones."""
    await tx.execute(_APPEND, event_values(new, work))
