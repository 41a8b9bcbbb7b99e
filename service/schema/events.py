"""Events, in the order in which the event feeds have them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from service.schema.base import Id, Time, TransactionId, metadata

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    # Null: it is about a subscriber, such as callsheet.subscriber.failing. No foreign key: the
    # statement that writes an event writes its subject, and a check would be a fifth of its cost.
    Column("subject_id", Id),
    # The subscriber that it is about, which may have been deleted; null: it is about a subject.
    Column("about_subscriber_id", Id),
    Column("account_id", Id, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("type", Text, nullable=False),
    # The exact bytes that are signed and sent; null: they were erased, and no feed shows the event.
    Column("body", LargeBinary),
    # A feed ordered by position alone would miss what commits late: see event_feed/store/feed.py.
    # Of another cluster than the first it is more than the default: see transaction_ids.py.
    Column("xid", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("subject_id", "sequence"),
    CheckConstraint("sequence >= 1", name="sequence"),
    CheckConstraint("num_nonnulls(subject_id, about_subscriber_id) = 1", name="about"),
    Index(  # those about subscribers, of which there are few, by their age
        "ix_events_about_subscribers",
        "created_at",
        "id",
        postgresql_where=text("subject_id IS NULL"),
    ),
    Index(  # erased events are in no feed: a page ends, however many of them there are
        "ix_events_feed",
        "account_id",
        "xid",
        "position",
        postgresql_where=text("body IS NOT NULL"),
    ),
    # For the feed of every account. Its condition always holds, and only that feed's query has it:
    # an account's feed must not be read by this index.
    Index(
        "ix_events_all",
        "xid",
        "position",
        postgresql_where=text("position > 0 AND body IS NOT NULL"),
    ),
)
