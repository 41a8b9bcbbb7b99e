"""Circuit breakers, rate limits and notices of subscribers; one without a row is healthy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import text

from service.delivery.domain.subscriber_health import SubscriberHealth
from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.transaction_ids import FIRST_OPEN, event_xid
from service.subjects.domain.event import HealthNotice

_COLUMNS = {  # of SubscriberHealth, in the order of its fields
    "subscriber_id": "text",
    "current_rate": "float",
    "rate_changed_at": "timestamptz",
    "rate_limited_until": "timestamptz",
    "failures": "int",
    "failing_since": "timestamptz",
    "circuit_open_until": "timestamptz",
    "failed_probes": "int",
    "status": "text",
    "status_since": "timestamptz",
    "reason": "text",
}
# Health is locked in the order of the subscribers' ids, and before the subscribers themselves. So
# these are locked (from being removed meanwhile) only where there is no health to lock yet.
_ENSURE = text("""
    INSERT INTO subscriber_health (subscriber_id) SELECT id FROM (
        SELECT s.id FROM subscribers s WHERE s.id = ANY (CAST(:ids AS text[]))
        AND (SELECT h.subscriber_id FROM subscriber_health h WHERE h.subscriber_id = s.id) IS NULL
        ORDER BY s.id FOR KEY SHARE OF s
    ) s
    ON CONFLICT DO NOTHING
""")
_LOCK = text(f"""
    SELECT {", ".join(_COLUMNS)} FROM subscriber_health
    WHERE subscriber_id = ANY (CAST(:ids AS text[])) ORDER BY subscriber_id FOR UPDATE
""")  # noqa: S608 - only our own column names are put in
_WRITE = text(f"""
    UPDATE subscriber_health h SET {", ".join(f"{name} = n.{name}" for name in _COLUMNS)}
    FROM {from_rows("n", _COLUMNS)} WHERE h.subscriber_id = n.subscriber_id
""")  # noqa: S608 - likewise


async def ensure(tx: Connection, subscriber_ids: Sequence[str]) -> None:
    """Make a row for each of these subscribers that exists and has none."""
    await tx.execute(_ENSURE, {"ids": subscriber_ids})


async def lock_health(tx: Connection, subscriber_ids: Sequence[str]) -> dict[str, SubscriberHealth]:
    """The health of those of these subscribers that exist, by their ids; until this transaction
    ends, nobody else changes it."""
    ids = sorted(subscriber_ids)
    await ensure(tx, ids)
    found = [SubscriberHealth(*row) for row in await tx.execute(_LOCK, {"ids": ids})]
    return {
        health.subscriber_id: replace(health, status=health.status and HealthNotice(health.status))
        for health in found
    }


async def write(tx: Connection, changed: Sequence[SubscriberHealth]) -> None:
    """Store the health of these subscribers, which the caller has locked."""
    await tx.execute(_WRITE, {"n": encode_rows([asdict(health) for health in changed])})


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """A notice of a subscriber's health that its account has not been given yet."""

    account_id: str  # who is notified
    subscriber_id: str  # whose health it is about
    sequence: int  # the number of this notice among the subscriber's, from 1
    status: HealthNotice  # what it says
    reason: str | None  # in words; None if it gives none


_PENDING_NOTICES = text(f"""
    SELECT subscriber_id FROM subscriber_health
    WHERE status IS NOT NULL AND status IS DISTINCT FROM notified_status AND {AT_HOME}
    ORDER BY subscriber_id LIMIT :limit
""")  # noqa: S608 - only our own words are put in
_PENDING_NOTICE = text("""
    SELECT s.account_id, h.subscriber_id, h.sequence + 1, h.status, h.reason
    FROM subscriber_health h JOIN subscribers s ON s.id = h.subscriber_id
    WHERE h.subscriber_id = :id AND h.status IS NOT NULL
    AND h.status IS DISTINCT FROM h.notified_status
    FOR UPDATE OF h
""")
_MARK_NOTIFIED = text("""
    UPDATE subscriber_health SET notified_status = status, sequence = sequence + 1
    WHERE subscriber_id = :id
""")
_DISABLE = text(f"""
    UPDATE subscribers SET state = 'disabled', state_since = :now, disabled_reason = :reason,
        version = version + 1,
        -- the audit expects deliveries of the events below this transaction only
        audited_until_xid = {event_xid(FIRST_OPEN)}
    WHERE id = :id AND state <> 'disabled'
""")  # noqa: S608 - our own SQL


async def pending_notices(tx: Connection, fence: Fence, limit: int) -> list[str]:
    """The ids of subscribers whose accounts are due a notice, `limit` at most; none outside the
    fence."""
    values = {"limit": limit, **fence.values()}
    return [id_ for (id_,) in await tx.execute(_PENDING_NOTICES, values)]


async def pending_notice(tx: Connection, subscriber_id: str) -> PendingNotice | None:
    """The notice that is due of a subscriber, None if there is none. Its health is locked, so that
    nobody else writes the notice, or changes it."""
    row = await tx.first(_PENDING_NOTICE, {"id": subscriber_id})
    if row is None:
        return None
    account_id, id_, sequence, status, reason = row
    return PendingNotice(account_id, id_, sequence, HealthNotice(status), reason)


async def mark_notified(tx: Connection, subscriber_id: str) -> None:
    """Note that the account was given the notice. The caller has locked the subscriber's health."""
    await tx.execute(_MARK_NOTIFIED, {"id": subscriber_id})


async def disable(tx: Connection, subscriber_id: str, reason: str | None, now: datetime) -> None:
    """Disable a subscriber: nothing more is sent to it. The caller has locked its health."""
    await tx.execute(_DISABLE, {"id": subscriber_id, "reason": reason, "now": now})
