"""Epochs of the feeds: a restored database begins a new one as it goes on."""

from sqlalchemy import text

from service.kit.database.connection import Connection

# The last event that both epochs have is the last one shown that was there before this database
# was found to be restored; a minute before, as clocks differ. Too early a place costs only that
# some events are read again.
_BEGIN = text("""
    UPDATE installation SET epoch_before = feed_epoch,
        feed_epoch = greatest(
            feed_epoch + 1, CAST(extract(epoch FROM clock_timestamp()) AS bigint)
        ),
        (epoch_xid, epoch_position) = (
            SELECT xid, position FROM events
            WHERE position > 0 AND xid < pg_snapshot_xmin(pg_current_snapshot())
            AND (created_at < held_since - interval '1 minute') IS NOT FALSE
            ORDER BY xid DESC, position DESC LIMIT 1
        )
    WHERE id = 1 RETURNING feed_epoch
""")


async def begin_epoch(tx: Connection) -> int:
    """Begin a new epoch of all feeds, and return it. Cursors from before are answered 410 with
    where to begin, and open streams end within seconds. Call it before the hold is lifted, as the
    epoch begins where the hold did."""
    epoch: int = await tx.scalar(_BEGIN)
    return epoch
