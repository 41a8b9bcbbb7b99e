"""Goes on with the feeds in another Postgres cluster, where a dump of the database was restored.

Each cluster counts its transactions anew: events that came with the dump would be ahead of it, and
no feed would show anything until their transaction ids have passed. What is added to the cluster's
ids is raised, so that they are above all that the dump has, and above all places that readers may
have. So no event is written anew, feeds stay in order, and cursors stay valid.
"""

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.schema.transaction_ids import NEXT, event_xid_number

# Readers may be ahead of the newest event, as a stream is that begins now; by less than this, since
# no cluster has so many transactions from one event to the next.
MARGIN = 2**32
_NEWEST = """
    SELECT coalesce(greatest(
        (
            SELECT xid FROM events WHERE position > 0 AND body IS NOT NULL
            ORDER BY xid DESC, position DESC LIMIT 1
        ),
        pruned_xid, epoch_xid
    ), '0') FROM installation WHERE id = 1
"""
_FOREIGN = text(f"""
    SELECT system_identifier <> (SELECT system_identifier FROM pg_control_system())
        OR CAST(CAST(({_NEWEST}) AS text) AS bigint) >= {event_xid_number(NEXT)}
    FROM transaction_ids WHERE id = 1
""")  # noqa: S608 - our own SQL
# Waits for all who have read the row and may yet write an event by it.
_LOCK = text("LOCK TABLE transaction_ids IN ACCESS EXCLUSIVE MODE")
_RAISE = text(f"""
    UPDATE transaction_ids SET
        added = greatest(added, CAST(CAST(({_NEWEST}) AS text) AS bigint)) + {MARGIN},
        system_identifier = (SELECT system_identifier FROM pg_control_system())
    WHERE id = 1
""")  # noqa: S608 - likewise
# They are compared with those of this cluster, and mean nothing in it.
_FORGET_CLAIMS = text("""
    UPDATE subscriber_health SET last_claim_xid = NULL WHERE last_claim_xid IS NOT NULL
""")


async def rebase_transaction_ids(tx: Connection) -> bool:
    """Go on in this cluster, if the database is from another one, or has events ahead of it; in a
    transaction. Whether it was so: a second time, nothing is done."""
    if not await tx.scalar(_FOREIGN):
        return False
    await tx.execute(_LOCK)
    if not await tx.scalar(_FOREIGN):
        return False  # another process has just done it
    await tx.execute(_RAISE)
    await tx.execute(_FORGET_CLAIMS)
    return True
