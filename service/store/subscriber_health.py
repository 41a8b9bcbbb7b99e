"""Lanes: how each subscriber's deliveries may flow. One without a row flows freely."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

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
# Whoever changes lanes holds them in the order of their subscribers' ids.
# Only where there is none are subscribers held (from being removed meanwhile): else it would be
# before their lanes, and everybody else holds the lane first.
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
    """A lane for each of those subscribers that are there and have none."""
    await tx.execute(_ENSURE, {"ids": subscriber_ids})


async def lock_health(tx: Connection, subscriber_ids: Sequence[str]) -> dict[str, SubscriberHealth]:
    """The lanes of those subscribers that are there, each for this transaction alone."""
    ids = {"ids": sorted(subscriber_ids)}
    await ensure(tx, ids["ids"])
    found = [SubscriberHealth(*row) for row in await tx.execute(_LOCK, ids)]
    return {lane.subscriber_id: _typed(lane) for lane in found}


def _typed(lane: SubscriberHealth) -> SubscriberHealth:
    values = {field.name: getattr(lane, field.name) for field in fields(lane)}
    return SubscriberHealth(**values | {"told": lane.told and HealthNotice(lane.told)})


async def write(tx: Connection, lanes: Sequence[SubscriberHealth]) -> None:
    await tx.execute(_WRITE, {"n": rows([asdict(lane) for lane in lanes])})


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """What an account has not been told yet of one of its subscribers; `sequence` counts that."""

    account_id: str
    subscriber_id: str
    sequence: int
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
    """Subscribers of which their account is to be told something."""
    return [id_ for (id_,) in await tx.execute(_PENDING_NOTICES, {"limit": limit})]


async def pending_notice(tx: Connection, subscriber_id: str) -> PendingNotice | None:
    """What is to be told of one. Its lane is held: nobody else tells it, or changes it."""
    for account_id, id_, sequence, told, why in await tx.execute(
        _PENDING_NOTICE, {"id": subscriber_id}
    ):
        return PendingNotice(account_id, id_, sequence, HealthNotice(told), why)
    return None


async def mark_notified(tx: Connection, subscriber_id: str) -> None:
    await tx.execute(_MARK_NOTIFIED, {"id": subscriber_id})


async def disable(tx: Connection, subscriber_id: str, why: str | None) -> None:
    """The caller holds its lane."""
    await tx.execute(_DISABLE, {"id": subscriber_id, "why": why})
