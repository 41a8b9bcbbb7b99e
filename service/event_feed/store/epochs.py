"""Epochs of the feeds: a restored database begins a new one as it goes on."""

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.schema.transaction_ids import FIRST_OPEN, event_xid

# The last event that both epochs have is the last one shown that was there before this database
# was found to be restored; a minute before, as clocks differ. Too early a place costs only that
# some events are read again.
_BEGIN = text(f"""
    UPDATE installation SET epoch_before = feed_epoch,
        feed_epoch = greatest(
            feed_epoch + 1, CAST(extract(epoch FROM clock_timestamp()) AS bigint)
        ),
        (epoch_xid, epoch_position) = (
            SELECT xid, position FROM events
            WHERE position > 0 AND body IS NOT NULL AND xid < {event_xid(FIRST_OPEN)}
            AND (created_at < held_since - interval '1 minute') IS NOT FALSE
            ORDER BY xid DESC, position DESC LIMIT 1
        )
    WHERE id = 1 RETURNING feed_epoch
""")  # noqa: S608 - our own SQL


async def begin_epoch(tx: Connection) -> int:
    """Begin a new epoch of all feeds, and return it. Cursors from before are answered 410 with
    where to begin, and open streams end within seconds. Call it before the hold is lifted, as the
    epoch begins where the hold did."""
    epoch: int = await tx.scalar(_BEGIN)
    return epoch
