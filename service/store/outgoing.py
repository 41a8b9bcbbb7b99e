"""The tables of what goes out: events, who hears of them, and how each delivery went.

Loading this module loads those of tables.py too: then `metadata` knows all there are.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

from service.store import tables
from service.store.tables import Id, Time

metadata = tables.metadata


class TransactionId(UserDefinedType[int]):
    """Postgres' xid8: the transaction that wrote a row, for feeds that lose nothing."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    # Null: it is about a subscriber, as callsheet.subscriber.failing.
    Column("subject_id", Id, ForeignKey("subjects.id", ondelete="CASCADE")),
    # The subscriber it is about, which may be gone; null where it is about a subject.
    Column("about_subscriber_id", Id),
    Column("account_id", Id, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # the exact bytes that are signed and sent
    # A feed ordered by position alone would lose rows that commit late; see store/feed.py.
    Column("xid", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("subject_id", "sequence"),
    CheckConstraint("sequence >= 1", name="sequence"),
    Index("ix_events_feed", "account_id", "xid", "position"),
    # Of every account. Its condition always holds, and only what seeks them all says so: an
    # account's feed would pass over all the others' events in it.
    Index("ix_events_all", "xid", "position", postgresql_where=text("position > 0")),
)

subscribers = Table(
    "subscribers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # `callback` ones stand for all callback_urls of an account at one origin; nobody made them, and
    # they hear of no event but those of the subjects that name them
    # (subjects.callback_subscriber_id).
    Column("type", Text, nullable=False, server_default="webhook"),
    Column("url", Text, nullable=False),
    Column("channel", Text),  # the subject of a NATS stream, the key of a Redis one
    Column("credentials", LargeBinary),  # for these; sealed: steps/vault.py
    Column("description", Text, nullable=False, server_default=""),
    Column("event_types", ARRAY(Text)),  # null: all
    Column("reference_types", ARRAY(Text)),  # null: all
    Column("tags", ARRAY(Text)),  # null: all; else one of these is enough
    Column("headers", LargeBinary),  # sealed
    Column("timeout", Float),  # seconds; null: as the setting says
    Column("schedule", ARRAY(Float)),  # seconds; null: as the setting says
    Column("ordering", Text, nullable=False, server_default="per_subject"),
    Column("format", Text, nullable=False, server_default="standard"),
    Column("signatures", ARRAY(Text), nullable=False, server_default="{v1}"),
    Column("state", Text, nullable=False),
    Column("disabled_reason", Text),
    Column("secret", LargeBinary, nullable=False),  # sealed, as the next
    Column("seed", LargeBinary),  # of its ed25519 key, once v1a was asked for
    Column("public_key", LargeBinary),
    # Raised with every change of what a sender must know: what it has kept is then read anew.
    Column("version", Integer, nullable=False, server_default="1"),
    # What the audit may hold it to: all that transactions above `audited_from_xid` wrote was judged
    # by its filters and order as they are now (null: not known of any), up to `audited_until_xid`
    # (null: without an end), from where on it was, or may have been, disabled.
    Column("audited_from_xid", TransactionId),
    Column("audited_until_xid", TransactionId),
    Column("created_at", Time, nullable=False),
    CheckConstraint("state IN ('active', 'paused', 'disabled')", name="state"),
    CheckConstraint("type IN ('webhook', 'nats', 'redis_stream', 'callback')", name="type"),
    CheckConstraint("ordering IN ('per_subject', 'none')", name="ordering"),
    CheckConstraint("format IN ('standard', 'cloudevents')", name="format"),
    Index("ix_subscribers_account", "account_id"),
    Index("ix_subscribers_fan_out", "account_id", postgresql_where=text("type <> 'callback'")),
    Index(
        "ix_subscribers_callback",
        "account_id",
        "url",
        unique=True,
        postgresql_where=text("type = 'callback'"),
    ),
    Index(  # those of every account that somebody made
        "ix_subscribers_made",
        "id",
        postgresql_where=text("type IN ('webhook', 'nats', 'redis_stream')"),
    ),
    Index("ix_subscribers_public", "id", postgresql_where=text("public_key IS NOT NULL")),
)

previous_signing_keys = (
    Table(  # of subscribers, and of accounts for their callback_urls: still signed with
        "previous_signing_keys",
        metadata,
        Column("id", Id, primary_key=True),
        Column("owner_id", Id, nullable=False),
        Column("secret", LargeBinary, nullable=False),  # sealed, as the next
        Column("seed", LargeBinary),
        Column("public_key", LargeBinary),
        Column("expires_at", Time, nullable=False),
        Index("ix_previous_signing_keys_owner", "owner_id"),
    )
)

subscriber_health = Table(  # how a subscriber's deliveries may flow; no row: freely
    "subscriber_health",
    metadata,
    Column("subscriber_id", Id, ForeignKey("subscribers.id", ondelete="CASCADE"), primary_key=True),
    Column("concurrency", Integer),  # its limits, as they were asked for
    Column("max_rate", Float),  # deliveries a second
    Column("current_rate", Float),  # what it seems to bear at present; null: no bound is known
    Column("rate_changed_at", Time),  # when that last changed
    Column("rate_limited_until", Time),  # claims so far use up the rate until then
    Column(
        "last_claim_xid", TransactionId
    ),  # the last claim under limits: one that overlaps must wait
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("failing_since", Time),  # the first of them
    Column(
        "circuit_open_until", Time
    ),  # set: the breaker is open, and after it one probe at a time
    Column(
        "failed_probes", Integer, nullable=False, server_default="0"
    ),  # that failed since it opened
    Column("status", Text),  # what the account is to be told of it: failing, disabled, recovered
    Column("status_since", Time),  # since when that is so
    Column("reason", Text),
    Column("notified_status", Text),  # what it was last told
    Column("sequence", Integer, nullable=False, server_default="0"),  # how often it was
    CheckConstraint("(failures > 0) = (failing_since IS NOT NULL)", name="failing"),
    CheckConstraint("status IN ('failing', 'disabled', 'recovered')", name="status"),
    Index(
        "ix_subscriber_health_unnotified",
        "subscriber_id",
        postgresql_where=text("status IS NOT NULL AND status IS DISTINCT FROM notified_status"),
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("event_id", Id, ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("subscriber_id", Id, ForeignKey("subscribers.id", ondelete="CASCADE"), nullable=False),
    # What is told in sequence: the subject's id; of an event about none, the event's own.
    Column("ordering_key", Id, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("url", Text),  # the callback_url, where the subscriber stands for several
    Column("state", Text, nullable=False),
    # Null while pending: an earlier event of the same subject is still on its way there.
    Column("due_at", Time),
    Column("lease_token", Id),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column(
        "attempts_at_replay", Integer, nullable=False, server_default="0"
    ),  # it was last sent anew
    Column("replayed_at", Time),  # when it last was
    Column("created_at", Time, nullable=False),
    Column("finished_at", Time),
    UniqueConstraint("event_id", "subscriber_id"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead', 'canceled')", name="state"),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("state = 'pending' OR (due_at IS NULL AND lease_token IS NULL)", name="ended"),
    Index(
        "ix_deliveries_due",
        "subscriber_id",
        "due_at",
        postgresql_where=text("state = 'pending' AND due_at IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_leased", "subscriber_id", postgresql_where=text("lease_token IS NOT NULL")
    ),
    Index("ix_deliveries_subscriber", "subscriber_id", "created_at", "id"),
    Index(
        "ix_deliveries_order",
        "subscriber_id",
        "ordering_key",
        "sequence",
        postgresql_where=text("state = 'pending'"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Id, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Time, nullable=False),
    Column("status", Integer),  # HTTP status; null: no answer
    Column("latency_ms", Float, nullable=False),
    Column("error", Text),
    Column("response_body", LargeBinary, nullable=False),
    Column("delivered", Boolean, nullable=False),
)
