"""The health of each subscriber (core/subscriber_health.py); one without a row is well."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from sqlalchemy import text

from service.core.subscriber_health import HealthNotice, SubscriberHealth
from service.store.connection import Connection
from service.store.rows import from_rows, rows

_NAMES = ", ".join(field.name for field in fields(SubscriberHealth))
_COLUMNS = {
    "subscriber_id": "text",
    "rate": "float",
    "rated_at": "timestamptz",
    "next_at": "timestamptz",
    "failures": "int",
    "failing_since": "timestamptz",
    "open_until": "timestamptz",
    "probes": "int",
    "told": "text",
    "told_at": "timestamptz",
    "why": "text",
}
# Whoever changes health locks it in the order of the subscribers' ids.
# Only where there is no row are subscribers locked (from being removed meanwhile): else it would be
# before their health, and everybody else locks that first.
_ENSURE = text("""
    INSERT INTO lanes (subscriber_id) SELECT id FROM (
        SELECT s.id FROM subscribers s WHERE s.id = ANY (CAST(:ids AS text[]))
        AND (SELECT l.subscriber_id FROM lanes l WHERE l.subscriber_id = s.id) IS NULL
        ORDER BY s.id FOR KEY SHARE OF s
    ) s
    ON CONFLICT DO NOTHING
""")
_LOCK = text(f"""
    SELECT {_NAMES} FROM lanes WHERE subscriber_id = ANY (CAST(:ids AS text[]))
    ORDER BY subscriber_id FOR UPDATE
""")  # noqa: S608 - only our own column names are put in
_WRITE = text(f"""
    UPDATE lanes l SET {", ".join(f"{name} = n.{name}" for name in _COLUMNS)}
    FROM {from_rows("n", _COLUMNS)} WHERE l.subscriber_id = n.subscriber_id
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
    return replace(health, told=health.told and HealthNotice(health.told))


async def write(tx: Connection, changed: Sequence[SubscriberHealth]) -> None:
    """The caller has locked these."""
    await tx.execute(_WRITE, {"n": rows([asdict(health) for health in changed])})


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """What an account has not been told yet of one of its subscribers."""

    account_id: str
    subscriber_id: str
    sequence: int
    """The number of this notice among those of the subscriber, from 1 on."""
    told: HealthNotice
    why: str | None


_PENDING_NOTICES = text("""
    SELECT subscriber_id FROM lanes WHERE told IS NOT NULL AND told IS DISTINCT FROM announced
    ORDER BY subscriber_id LIMIT :limit
""")
_PENDING_NOTICE = text("""
    SELECT s.account_id, l.subscriber_id, l.sequence + 1, l.told, l.why
    FROM lanes l JOIN subscribers s ON s.id = l.subscriber_id
    WHERE l.subscriber_id = :id AND l.told IS NOT NULL AND l.told IS DISTINCT FROM l.announced
    FOR UPDATE OF l
""")
_MARK_NOTIFIED = text("""
    UPDATE lanes SET announced = told, sequence = sequence + 1 WHERE subscriber_id = :id
""")
_DISABLE = text("""
    UPDATE subscribers SET state = 'disabled', disabled_reason = :why, version = version + 1,
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
    for account_id, id_, sequence, told, why in await tx.execute(
        _PENDING_NOTICE, {"id": subscriber_id}
    ):
        return PendingNotice(account_id, id_, sequence, HealthNotice(told), why)
    return None


async def mark_notified(tx: Connection, subscriber_id: str) -> None:
    """The account has been told. The caller has locked the subscriber's health."""
    await tx.execute(_MARK_NOTIFIED, {"id": subscriber_id})


async def disable(tx: Connection, subscriber_id: str, why: str | None) -> None:
    """Nothing more is sent to the subscriber. The caller has locked its health."""
    await tx.execute(_DISABLE, {"id": subscriber_id, "why": why})
