"""The audit's queries: each row that one of them finds is a broken promise."""

from dataclasses import dataclass

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.event import SUBJECT_EVENT_TYPES
from service.subjects.domain.lifecycle import RANK
from service.subjects.store.events import WANTS_EVENT

MAX_VIOLATIONS = 100  # of one rule that are reported

_RANKS = ", ".join(
    f"('{SUBJECT_EVENT_TYPES[state]}', {rank})"
    for state, rank in RANK.items()
    if state in SUBJECT_EVENT_TYPES
)

# A subscriber's present filters and order say nothing of events that were written before them.
_SINCE_FILTERS = "e.xid > s.audited_from_xid"


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of a promise."""

    promise: int  # its number in service/README.md
    rule: str  # what does not hold, as a sentence of what should
    about: str  # the id of the subject or delivery, or `event to subscriber`


@dataclass(frozen=True, slots=True)
class _Rule:
    promise: int  # its number in service/README.md
    text: str  # what holds, as a sentence
    sql: str  # selects in one column what breaks it


RULES = (
    _Rule(
        1,
        "a subject has one event for each version, from 1 without a gap",
        """SELECT s.id FROM subjects s LEFT JOIN events e ON e.subject_id = s.id
        GROUP BY s.id, s.version
        HAVING count(e.id) <> s.version OR min(e.sequence) <> 1 OR max(e.sequence) <> s.version""",
    ),
    _Rule(
        4,
        "each event ranks above the one before it",
        f"""SELECT DISTINCT later.subject_id FROM events later
        JOIN events earlier
        ON earlier.subject_id = later.subject_id AND earlier.sequence = later.sequence - 1
        JOIN (VALUES {_RANKS}) l (type, rank) ON l.type = later.type
        JOIN (VALUES {_RANKS}) e (type, rank) ON e.type = earlier.type
        WHERE l.rank <= e.rank""",  # noqa: S608 - our own names
    ),
    _Rule(
        4,
        "a subject's state is what its last event says, or one of the three before any",
        """SELECT s.id FROM subjects s
        JOIN events e ON e.subject_id = s.id AND e.sequence = s.version
        WHERE e.type <> 'subject.' || CASE
            WHEN s.state IN ('submitting', 'unconfirmed') THEN 'queued' ELSE s.state END""",
    ),
    _Rule(
        6,
        "each event has a delivery to each subscriber that wanted it",
        f"""SELECT e.id || ' to ' || s.id FROM events e
        JOIN subscribers s ON s.account_id = e.account_id AND s.type <> 'callback'
        AND {_SINCE_FILTERS} AND (s.audited_until_xid IS NULL OR e.xid < s.audited_until_xid)
        LEFT JOIN (
            SELECT id, document ->> 'reference_type' AS reference_type, tags FROM subjects
        ) b ON b.id = e.subject_id
        LEFT JOIN deliveries d ON d.event_id = e.id AND d.subscriber_id = s.id
        WHERE d.id IS NULL AND {WANTS_EVENT}""",  # noqa: S608 - our own names
    ),
    _Rule(
        6,
        "each event of a subject but its first has a delivery to the subject's callback_url",
        """SELECT e.id || ' to ' || b.callback_subscriber_id FROM subjects b
        JOIN events e ON e.subject_id = b.id AND e.type <> 'subject.queued'
        LEFT JOIN deliveries d ON d.event_id = e.id AND d.subscriber_id = b.callback_subscriber_id
        WHERE b.callback_subscriber_id IS NOT NULL AND d.id IS NULL""",
    ),
    # Replayed deliveries are left out: they come late by intent.
    _Rule(
        6,
        "no event of a subject is delivered before an earlier one has ended",
        f"""SELECT DISTINCT later.id FROM deliveries later
        JOIN deliveries earlier ON earlier.subscriber_id = later.subscriber_id
        AND earlier.ordering_key = later.ordering_key AND earlier.sequence < later.sequence
        JOIN events e ON e.id = earlier.event_id
        JOIN subscribers s ON s.id = later.subscriber_id AND s.ordering = 'per_subject'
        AND (s.type = 'callback' OR {_SINCE_FILTERS})
        WHERE later.attempts > 0 AND num_nonnulls(later.replayed_at, earlier.replayed_at) = 0
        AND (earlier.state = 'pending' OR earlier.finished_at > later.finished_at)
        """,  # noqa: S608 - our own names
    ),
    _Rule(
        6,
        "what is delivered has an attempt that a subscriber answered with success",
        """SELECT d.id FROM deliveries d WHERE d.state = 'delivered' AND NOT EXISTS (
            SELECT FROM attempts a WHERE a.delivery_id = d.id AND a.delivered)""",
    ),
    _Rule(
        6,
        "what is dead has an attempt with its reason",
        """SELECT d.id FROM deliveries d WHERE d.state = 'dead' AND NOT EXISTS (
            SELECT FROM attempts a WHERE a.delivery_id = d.id AND a.error IS NOT NULL)""",
    ),
    _Rule(
        6,
        "what waits is due some time, or waits behind an earlier one",
        """SELECT d.id FROM deliveries d
        WHERE d.state = 'pending' AND d.due_at IS NULL AND NOT EXISTS (
            SELECT FROM deliveries e WHERE e.state = 'pending'
            AND e.subscriber_id = d.subscriber_id AND e.ordering_key = d.ordering_key
            AND e.sequence < d.sequence)""",
    ),
)


async def violations(tx: Connection) -> list[Violation]:
    """All of them, read in one snapshot; at most MAX_VIOLATIONS of each rule."""
    await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    await tx.execute(text("SET LOCAL statement_timeout = 0"))
    for name in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
        await tx.execute(text(f"SET LOCAL {name} = on"))  # these are about whole tables
    found = []
    for rule in RULES:
        rows = await tx.execute(text(f"{rule.sql} LIMIT {MAX_VIOLATIONS}"))
        found += [Violation(rule.promise, rule.text, row[0]) for row in rows]
    return found
