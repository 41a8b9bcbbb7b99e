"""The audit of what waits now, over all subjects and subscribers: each query is of one small
index."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.audit_checks import AuditCheck, Violation
from service.operations.store.audit_slices import bounds, union_of
from service.reconciliation.store.expired import UNFINISHED
from service.schema.base import one_of
from service.schema.transaction_ids import NEXT, event_xid
from service.subjects.domain.lifecycle import WITH_PROVIDER

_PAST_DEADLINE = """
    SELECT id FROM subjects WHERE finished_at IS NULL AND media_check_at {is_null}
    AND state = unfinished.state AND deadline < :over"""

# Each selects in one column what is not as its rule says.
CHECKS: Final[Mapping[AuditCheck, str]] = MappingProxyType(
    {
        AuditCheck.FEED_AHEAD: f"""
            SELECT id FROM events
            WHERE position > 0 AND body IS NOT NULL AND xid >= {event_xid(NEXT)}""",  # noqa: S608 - our own SQL
        AuditCheck.PAST_DEADLINE: f"""
            SELECT q.id FROM (VALUES {", ".join(f"('{state}')" for state in UNFINISHED)})
            AS unfinished (state) CROSS JOIN LATERAL (
                ({_PAST_DEADLINE.format(is_null="IS NULL")})
                UNION ALL
                ({_PAST_DEADLINE.format(is_null="IS NOT NULL")})
            ) q""",  # noqa: S608 - our own words
        AuditCheck.SUBMISSION_LEASE: f"""
            SELECT id FROM subjects
            WHERE state IN ({one_of(WITH_PROVIDER)}) AND lease_until < :over
            """,  # noqa: S608 - our own words
        AuditCheck.MEDIA_LEASE: """
            SELECT id FROM subjects WHERE state = 'queued' AND media_check_at IS NOT NULL
            AND media_lease_token IS NOT NULL AND media_check_at < :over""",
        # It may wait by right: for a circuit breaker, a rate, a pause, or a hold.
        AuditCheck.DELIVERY_LEASE: """
            SELECT d.id FROM deliveries d JOIN subscribers s ON s.id = d.subscriber_id
            LEFT JOIN subscriber_health h ON h.subscriber_id = s.id
            WHERE d.lease_token IS NOT NULL AND d.due_at < :over AND s.state = 'active'
            AND num_nonnulls(h.max_rate, h.current_rate, h.circuit_open_until) = 0
            AND NOT EXISTS (
                SELECT FROM holds WHERE what = 'deliveries'
                AND (account_id IS NULL OR account_id = s.account_id)
                AND (until IS NULL OR until > :over)
            )""",
        # It may wait by right: while the provider refuses our account or key.
        AuditCheck.ERASURE_LEASE: """
            SELECT subject_id FROM erasures
            WHERE state = 'pending' AND NOT stopped AND lease_token IS NOT NULL
            AND next_try_at < :over AND NOT EXISTS (SELECT FROM erasures WHERE stopped)""",
        # One that nobody claimed took no slot: a callback has moved it.
        AuditCheck.PROVIDER_SLOTS: f"""
            SELECT 'more than ' || CAST(CAST(:slots AS bigint) AS text)
            FROM subjects WHERE state IN ({one_of(WITH_PROVIDER)})
            HAVING count(claimed_at) > :slots""",  # noqa: S608 - our own words
    }
)
_WAITING = text(union_of(CHECKS))


async def check_waiting(
    tx: Connection, *, over: datetime, slots: int, again: Sequence[Violation] | None = None
) -> list[Violation]:
    """What breaks a rule of CHECKS: what a worker should have taken up before `over`, and more than
    `slots` subjects with the provider. See bounds() for `again`."""
    rows = await tx.execute(_WAITING, {"over": over, "slots": slots} | bounds(again))
    return [Violation(AuditCheck(check), about) for check, about in rows]
