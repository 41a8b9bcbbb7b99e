"""The health of each subscriber (domain/subscriber_health.py); one without a row is well."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from sqlalchemy import text

from service.delivery.domain.subscriber_health import SubscriberHealth
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.subjects.domain.event import HealthNotice

_NAMES = ", ".join(field.name for field in fields(SubscriberHealth))
_COLUMNS = {
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
# Whoever changes health locks it in the order of the subscribers' ids.
# Only where there is no row are subscribers locked (from being removed meanwhile): else it would be
# before their health, and everybody else locks that first.
_ENSURE = text("""
    INSERT INTO subscriber_health (subscriber_id) SELECT id FROM (
        SELECT s.id FROM subscribers s WHERE s.id = ANY (CAST(:ids AS text[]))
        AND (SELECT h.subscriber_id FROM subscriber_health h WHERE h.subscriber_id = s.id) IS NULL
        ORDER BY s.id FOR KEY SHARE OF s
    ) s
    ON CONFLICT DO NOTHING
""")
_LOCK = text(f"""
    SELECT {_NAMES} FROM subscriber_health WHERE subscriber_id = ANY (CAST(:ids AS text[]))
    ORDER BY subscriber_id FOR UPDATE
""")  # noqa: S608 - only our own column names are put in
_WRITE = text(f"""
    UPDATE subscriber_health h SET {", ".join(f"{name} = n.{name}" for name in _COLUMNS)}
    FROM {from_rows("n", _COLUMNS)} WHERE h.subscriber_id = n.subscriber_id
""")  # noqa: S608 - likewise


async def ensure(tx: Connection, subscriber_ids: Sequence[str]) -> None:
    """Make a row for each of these subscribers that is there and has none."""
    await tx.execute(_ENSURE, {"ids": subscriber_ids})


async def lock_health(tx: Connection, subscriber_ids: Sequence[str]) -> dict[str, SubscriberHealth]:
    """The health of those of these subscribers that are there, by their ids; until this transaction
    ends, nobody else changes it."""
    ids = {"ids": sorted(subscriber_ids)}
    await ensure(tx, ids["ids"])
    found = [SubscriberHealth(*row) for row in await tx.execute(_LOCK, ids)]
    return {health.subscriber_id: _typed(health) for health in found}


def _typed(health: SubscriberHealth) -> SubscriberHealth:
    return replace(health, status=health.status and HealthNotice(health.status))


async def write(tx: Connection, changed: Sequence[SubscriberHealth]) -> None:
    """The caller has locked these."""
    await tx.execute(_WRITE, {"n": encode_rows([asdict(health) for health in changed])})


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """What an account has not been told yet of one of its subscribers."""

    account_id: str
    subscriber_id: str
    sequence: int
    """The number of this notice among those of the subscriber, from 1 on."""
    status: HealthNotice
    reason: str | None


_PENDING_NOTICES = text("""
    SELECT subscriber_id FROM subscriber_health
    WHERE status IS NOT NULL AND status IS DISTINCT FROM notified_status
    ORDER BY subscriber_id LIMIT :limit
""")
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
_DISABLE = text("""
    UPDATE subscribers SET state = 'disabled', disabled_reason = :reason, version = version + 1,
        -- what is below has been told it
        audited_until_xid = pg_snapshot_xmin(pg_current_snapshot())
    WHERE id = :id AND state <> 'disabled'
""")


async def pending_notices(tx: Connection, limit: int) -> list[str]:
    """The ids of subscribers of which their account is to be told something, `limit` at most."""
    return [id_ for (id_,) in await tx.execute(_PENDING_NOTICES, {"limit": limit})]


async def pending_notice(tx: Connection, subscriber_id: str) -> PendingNotice | None:
    """What is to be told of a subscriber; None if nothing is. Its health is locked: nobody else
    tells it, or changes it."""
    for account_id, id_, sequence, status, reason in await tx.execute(
        _PENDING_NOTICE, {"id": subscriber_id}
    ):
        return PendingNotice(account_id, id_, sequence, HealthNotice(status), reason)
    return None


async def mark_notified(tx: Connection, subscriber_id: str) -> None:
    """The account has been told. The caller has locked the subscriber's health."""
    await tx.execute(_MARK_NOTIFIED, {"id": subscriber_id})


async def disable(tx: Connection, subscriber_id: str, reason: str | None) -> None:
    """Nothing more is sent to the subscriber. The caller has locked its health."""
    await tx.execute(_DISABLE, {"id": subscriber_id, "reason": reason})
