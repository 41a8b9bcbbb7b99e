"""Lanes: how each subscriber's deliveries may flow. One without a row flows freely."""

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import text

from service.core.lanes import Lane, Told
from service.store.database import Direct, Transaction
from service.store.rows import from_rows, rows

_NAMES = ", ".join(field.name for field in fields(Lane))
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
    "sequence": "int",
}
# Whoever changes lanes holds them in the order of their subscribers' ids.
_MAKE = text("""
    INSERT INTO lanes (subscriber_id)
    SELECT id FROM subscribers WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id
    ON CONFLICT DO NOTHING
""")
_HOLD = text(f"""
    SELECT {_NAMES} FROM lanes WHERE subscriber_id = ANY (CAST(:ids AS text[]))
    ORDER BY subscriber_id FOR UPDATE
""")  # noqa: S608 - only our own column names are put in
_WRITE = text(f"""
    UPDATE lanes l SET {", ".join(f"{name} = n.{name}" for name in _COLUMNS)}
    FROM {from_rows("n", _COLUMNS)} WHERE l.subscriber_id = n.subscriber_id
""")  # noqa: S608 - likewise
_DISABLE = text("""
    UPDATE subscribers SET state = 'disabled', disabled_reason = :reason, version = version + 1
    WHERE id = :id AND state <> 'disabled' RETURNING account_id
""")


async def hold(tx: Direct, subscriber_ids: Sequence[str]) -> dict[str, Lane]:
    """The lanes of those subscribers that are there, each for this transaction alone."""
    ids = {"ids": sorted(subscriber_ids)}
    await tx.execute(_MAKE, ids)
    found = [Lane(*row) for row in await tx.execute(_HOLD, ids)]
    return {lane.subscriber_id: _typed(lane) for lane in found}


def _typed(lane: Lane) -> Lane:
    values = {field.name: getattr(lane, field.name) for field in fields(lane)}
    return Lane(**values | {"told": lane.told and Told(lane.told)})


async def write(tx: Direct, lanes: Sequence[Lane]) -> None:
    await tx.execute(_WRITE, {"n": rows([asdict(lane) for lane in lanes])})


async def disable(tx: Direct | Transaction, subscriber_id: str, reason: str) -> str | None:
    """The account of the subscriber that is now disabled; None if it was, or is not there."""
    for (account_id,) in await tx.execute(_DISABLE, {"id": subscriber_id, "reason": reason}):
        return str(account_id)
    return None


_ACCOUNT = text("SELECT account_id FROM subscribers WHERE id = :id")


async def account(tx: Direct, subscriber_id: str) -> str | None:
    """Whose subscriber it is; None if it is not there any more."""
    for (account_id,) in await tx.execute(_ACCOUNT, {"id": subscriber_id}):
        return str(account_id)
    return None
