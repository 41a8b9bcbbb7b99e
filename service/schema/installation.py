"""Which installation this database belongs to: one row, which tells copies and restored backups
from the original."""

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Table, Text

from service.schema.base import Id, Time, TransactionId, metadata

installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Made with the database; a copy that was adopted has a new one.
    Column("installation_id", Id, nullable=False),
    Column("public_url", Text),  # the setting PUBLIC_URL at home; null: no process has started yet
    Column("last_moment", Time),  # noted every few seconds, and elsewhere too: it never goes back
    Column("held_reason", Text),  # why nothing is sent; null: it is not held
    Column("held_since", Time),
    # Begun when a restored database goes on: cursors of other epochs are not understood any more.
    # 0, or the second of Unix time in which it began: so no two restored from one backup are alike.
    Column("feed_epoch", BigInteger, nullable=False, server_default="0"),
    Column("epoch_before", BigInteger, nullable=False, server_default="0"),
    # The last event, in the order of the feed, that was there when this epoch began; null: none.
    Column("epoch_xid", TransactionId),
    Column("epoch_position", BigInteger),
    # The last event of any account, in the order of the feed, that was pruned; null: none.
    Column("pruned_xid", TransactionId),
    Column("pruned_position", BigInteger),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("(held_reason IS NULL) = (held_since IS NULL)", name="held"),
)
