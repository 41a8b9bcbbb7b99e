"""The audit of subjects with all that belongs to them: events, deliveries, attempts, callbacks.

The ids of all these begin, behind their prefix, with the same characters as their subject's (its
stem), and so sort as subjects do. A slice is some ranges of stems (store/audit_ranges.py). One
statement reads each table once, by an index, and is one snapshot: what it finds was so then.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.audit_checks import AuditCheck, Violation
from service.operations.store.audit_ranges import Range
from service.provider.domain.task_reports import STATUS_WORDS
from service.subjects.domain.event import SUBJECT_EVENT_TYPES
from service.subjects.domain.lifecycle import RANK, State
from service.subjects.store.events import WANTS_EVENT

MAX_VIOLATIONS = 100  # of one check that are reported
CHECKED = ("subjects", "events", "deliveries")  # what is counted of a slice

_EVENT_RANKS = ", ".join(
    f"('{type_}', {RANK[state]})" for state, type_ in SUBJECT_EVENT_TYPES.items()
)
_STATE_RANKS = ", ".join(f"('{state}', {rank})" for state, rank in RANK.items())
# A status is named as the state that it brings a subject to.
_WORDS = ", ".join(
    f"('{word}', '{State(status)}', {RANK[State(status)]})" for word, status in STATUS_WORDS.items()
)

# A subscriber's present filters and order say nothing of events that were written before them.
_SINCE_FILTERS = "e.xid > s.audited_from_xid"


def _in_range(table: str, column: str, prefix: str, more: str = "") -> str:
    """The rows of a slice, by the one index that has them in this order."""
    return f"""
        SELECT r.* FROM ranges CROSS JOIN LATERAL (
            SELECT * FROM {table}
            WHERE {column} >= '{prefix}_' || low AND {column} < '{prefix}_' || high {more}
            ORDER BY {column}
        ) r
    """  # noqa: S608 - our own names


# The rows of a slice. Joins are made among these alone: see _PLAN.
_ROWS = f"""
    ranges AS (
        SELECT low, high
        FROM unnest(CAST(:lows AS text[]), CAST(:highs AS text[])) AS given (low, high)
    ),
    subject AS MATERIALIZED (
        SELECT s.id, s.state, s.version, s.document ->> 'reference_type' AS reference_type, s.tags,
            s.callback_subscriber_id, s.deadline, s.available_at, s.media_check_at, s.next_poll_at,
            s.erased_at
        FROM ({_in_range("subjects", "id", "sub")}) s
    ),
    event AS MATERIALIZED (
        SELECT e.id, e.subject_id, e.about_subscriber_id, e.account_id, e.sequence, e.type, e.xid,
            e.position, lag(e.type) OVER earlier AS type_before,
            lag(e.xid) OVER earlier AS xid_before, lag(e.position) OVER earlier AS position_before
        FROM ({_in_range("events", "id", "evt")}) e
        WINDOW earlier AS (PARTITION BY e.subject_id, e.about_subscriber_id ORDER BY e.sequence)
    ),
    delivery AS MATERIALIZED (
        SELECT d.id, d.event_id, d.subscriber_id, d.ordering_key, d.sequence, d.state, d.due_at,
            d.attempts, d.replayed_at, d.finished_at
        FROM ({_in_range("deliveries", "id", "dlv")}) d
    ),
    attempt AS MATERIALIZED (
        SELECT a.delivery_id, bool_or(a.delivered) AS delivered,
            bool_or(a.error IS NOT NULL) AS failed
        FROM ({_in_range("attempts", "delivery_id", "dlv")}) a
        GROUP BY a.delivery_id
    ),
    applied AS MATERIALIZED (
        SELECT c.subject_id, c.status
        FROM ({_in_range("callbacks", "subject_id", "sub", "AND verdict = 'applied'")}) c
    ),
    listener AS MATERIALIZED (  -- who may have wanted the events
        SELECT s.id, s.account_id, s.event_types, s.reference_types, s.tags, s.audited_from_xid,
            s.audited_until_xid
        FROM subscribers s
        WHERE s.account_id = ANY (ARRAY(SELECT DISTINCT account_id FROM event))
        AND s.type <> 'callback'
    ),
    receiver AS MATERIALIZED (  -- whom the deliveries go to
        SELECT s.id, s.type, s.ordering, s.audited_from_xid
        FROM subscribers s WHERE s.id = ANY (ARRAY(SELECT DISTINCT subscriber_id FROM delivery))
    )
"""  # noqa: S608 - our own words

# Each selects in one column what is not as its rule says.
CHECKS: Final[Mapping[AuditCheck, str]] = MappingProxyType(
    {
        AuditCheck.EVENT_FOR_EACH_VERSION: """
            SELECT s.id FROM subject s LEFT JOIN (
                SELECT subject_id, count(*) AS number, min(sequence) AS first, max(sequence) AS last
                FROM event GROUP BY subject_id
            ) e ON e.subject_id = s.id
            WHERE (e.number = s.version AND e.first = 1 AND e.last = s.version) IS NOT TRUE""",
        AuditCheck.EVENT_SUBJECT: """
            SELECT e.id FROM event e LEFT JOIN subject s ON s.id = e.subject_id
            WHERE e.subject_id IS NOT NULL AND s.id IS NULL""",
        AuditCheck.STATES_RISE: f"""
            SELECT DISTINCT e.subject_id FROM event e
            JOIN (VALUES {_EVENT_RANKS}) now (type, rank) ON now.type = e.type
            JOIN (VALUES {_EVENT_RANKS}) before (type, rank) ON before.type = e.type_before
            WHERE now.rank <= before.rank""",  # noqa: S608 - our own words
        AuditCheck.STATE_OF_LAST_EVENT: """
            SELECT s.id FROM subject s
            JOIN event e ON e.subject_id = s.id AND e.sequence = s.version
            WHERE e.type <> 'subject.' || CASE WHEN s.erased_at IS NOT NULL THEN 'deleted'
                WHEN s.state IN ('submitting', 'unconfirmed') THEN 'queued' ELSE s.state END""",
        AuditCheck.CALLBACK_APPLIED: f"""
            SELECT DISTINCT s.id FROM applied a JOIN subject s ON s.id = a.subject_id
            JOIN (VALUES {_WORDS}) said (word, state, rank) ON said.word = a.status
            JOIN (VALUES {_STATE_RANKS}) is_now (state, rank) ON is_now.state = s.state
            WHERE is_now.rank < said.rank
            OR said.state IN ('succeeded', 'failed') AND said.state <> s.state
            """,  # noqa: S608 - our own words
        AuditCheck.FEED_ORDER: """
            SELECT e.id FROM event e WHERE e.subject_id IS NOT NULL
            AND (e.xid, e.position) <= (e.xid_before, e.position_before)""",
        AuditCheck.DELIVERY_TO_SUBSCRIBER: f"""
            SELECT e.id || ' to ' || s.id FROM event e
            JOIN listener s ON s.account_id = e.account_id
            LEFT JOIN subject b ON b.id = e.subject_id
            LEFT JOIN delivery d ON d.event_id = e.id AND d.subscriber_id = s.id
            WHERE d.id IS NULL AND {_SINCE_FILTERS}
            AND (s.audited_until_xid IS NULL OR e.xid < s.audited_until_xid)
            AND {WANTS_EVENT}""",  # noqa: S608 - our own words
        AuditCheck.DELIVERY_TO_CALLBACK_URL: """
            SELECT e.id || ' to ' || b.callback_subscriber_id FROM subject b
            JOIN event e ON e.subject_id = b.id AND e.type <> 'subject.queued'
            LEFT JOIN delivery d
            ON d.event_id = e.id AND d.subscriber_id = b.callback_subscriber_id
            WHERE b.callback_subscriber_id IS NOT NULL AND d.id IS NULL""",
        # Replayed deliveries are left out: they come late by intent.
        AuditCheck.DELIVERY_ORDER: f"""
            SELECT DISTINCT later.id FROM delivery later
            JOIN delivery earlier ON earlier.subscriber_id = later.subscriber_id
            AND earlier.ordering_key = later.ordering_key AND earlier.sequence < later.sequence
            JOIN event e ON e.id = earlier.event_id
            JOIN receiver s ON s.id = later.subscriber_id AND s.ordering = 'per_subject'
            AND (s.type = 'callback' OR {_SINCE_FILTERS})
            WHERE later.attempts > 0 AND num_nonnulls(later.replayed_at, earlier.replayed_at) = 0
            AND (earlier.state = 'pending' OR earlier.finished_at > later.finished_at)
            """,  # noqa: S608 - our own words
        AuditCheck.DELIVERED_ATTEMPT: """
            SELECT d.id FROM delivery d LEFT JOIN attempt a ON a.delivery_id = d.id
            WHERE d.state = 'delivered' AND a.delivered IS NOT TRUE""",
        AuditCheck.DEAD_ATTEMPT: """
            SELECT d.id FROM delivery d LEFT JOIN attempt a ON a.delivery_id = d.id
            WHERE d.state = 'dead' AND a.failed IS NOT TRUE""",
        AuditCheck.DELIVERY_DUE: """
            SELECT d.id FROM delivery d LEFT JOIN (
                SELECT subscriber_id, ordering_key, min(sequence) AS sequence
                FROM delivery WHERE state = 'pending' GROUP BY subscriber_id, ordering_key
            ) first ON first.subscriber_id = d.subscriber_id
            AND first.ordering_key = d.ordering_key
            WHERE d.state = 'pending'
            AND (d.due_at > :latest OR d.due_at IS NULL AND first.sequence = d.sequence)""",
        AuditCheck.DELIVERY_TAKEN: """
            SELECT d.id FROM delivery d LEFT JOIN event e ON e.id = d.event_id
            LEFT JOIN receiver s ON s.id = d.subscriber_id
            WHERE d.state = 'pending' AND (e.id IS NULL OR s.id IS NULL)""",
        AuditCheck.SUBJECT_DUE: """
            SELECT s.id FROM subject s WHERE CASE
                WHEN s.state = 'queued' THEN greatest(s.available_at, s.media_check_at)
                ELSE s.next_poll_at END > s.deadline + CAST(:grace AS interval)""",
    }
)


def union_of(checks: Mapping[AuditCheck, str]) -> str:
    """One query of what these find: the name of the check, and what it found. Its parameters are
    `limit`, the most of each check, and `abouts`: null, or all that it may find."""
    return " UNION ALL ".join(
        f"SELECT * FROM (SELECT '{check}', about FROM ({sql}) found (about)"  # noqa: S608 - ours
        " WHERE CAST(:abouts AS text[]) IS NULL OR about = ANY (CAST(:abouts AS text[]))"
        f" LIMIT :limit) {check}"
        for check, sql in checks.items()
    )


def bounds(again: Sequence[Violation] | None) -> dict[str, object]:
    """The parameters of union_of(): for what was found and is looked for again, or, if that is
    None, for MAX_VIOLATIONS of each check."""
    if again is None:
        return {"limit": MAX_VIOLATIONS, "abouts": None}
    return {"limit": len(again), "abouts": sorted({violation.about for violation in again})}


_SLICE = text(f"""
    WITH {_ROWS}
    SELECT 'subjects', CAST(count(*) AS text) FROM subject
    UNION ALL SELECT 'events', CAST(count(*) AS text) FROM event
    UNION ALL SELECT 'deliveries', CAST(count(*) AS text) FROM delivery
    UNION ALL {union_of(CHECKS)}
""")  # noqa: S608 - our own words

# Rows are found by indexes, one by one, and joined in memory: nested loops over what was read would
# take the square of it. The service's sessions have it the other way round.
_PLAN = text("""
    SELECT set_config('enable_nestloop', 'off', true), set_config('enable_hashjoin', 'on', true),
        set_config('enable_mergejoin', 'on', true), set_config('work_mem', '32MB', true)
""")


_LIMIT = text("SELECT set_config('statement_timeout', :milliseconds, true)")
_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


async def begin_snapshot(tx: Connection) -> None:
    """Have all statements of this transaction, of which none was run yet, see the same."""
    await tx.execute(_SNAPSHOT)


async def limit_statements(tx: Connection, longest: timedelta) -> None:
    """End each further statement of this transaction that takes longer."""
    await tx.execute(_LIMIT, {"milliseconds": str(longest // timedelta(milliseconds=1))})


async def plan_for_slices(tx: Connection) -> None:
    """Set this transaction's planner for check_slice()."""
    await tx.execute(_PLAN)


async def check_slice(
    tx: Connection,
    ranges: Sequence[Range],
    *,
    latest: datetime,
    grace: timedelta,
    again: Sequence[Violation] | None = None,
) -> tuple[list[Violation], dict[str, int]]:
    """What breaks a rule of CHECKS among the subjects of these ranges; and how many rows were
    looked at, by the names of CHECKED. See bounds() for `again`.

    No delivery is due later than `latest`, and no subject later than `grace` after its deadline.
    """
    lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
    values = {"lows": lows, "highs": highs, "latest": latest, "grace": grace}
    rows = await tx.execute(_SLICE, values | bounds(again))
    checked = {name: int(about) for name, about in rows if name in CHECKED}
    found = [Violation(AuditCheck(name), about) for name, about in rows if name not in CHECKED]
    return found, checked
