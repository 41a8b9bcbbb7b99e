"""Subscribers, and the previous signing keys that sign beside the new ones for a while."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.base import Id, Time, TransactionId, metadata, one_of
from service.subscribers.domain.subscriber import Format, Ordering, SubscriberState, SubscriberType

subscribers = Table(
    "subscribers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # One of type `callback` is hidden: it stands for all callback_urls of an account at one origin,
    # and gets only the events of subjects that name it (subjects.callback_subscriber_id).
    Column("type", Text, nullable=False, server_default="webhook"),
    Column("url", Text, nullable=False),
    Column("channel", Text),  # the subject of a NATS stream, the key of a Redis stream
    Column("credentials", LargeBinary),  # for these; encrypted
    Column("description", Text, nullable=False, server_default=""),
    Column("event_types", ARRAY(Text)),  # null: all
    Column("reference_types", ARRAY(Text)),  # null: all
    Column("tags", ARRAY(Text)),  # null: all; one of them is enough
    Column("headers", LargeBinary),  # encrypted
    Column("timeout", Float),  # seconds; null: as the setting says
    Column("schedule", ARRAY(Float)),  # seconds; null: as the setting says
    Column("ordering", Text, nullable=False, server_default="per_subject"),
    Column("format", Text, nullable=False, server_default="standard"),
    Column("signatures", ARRAY(Text), nullable=False, server_default="{v1}"),
    Column("state", Text, nullable=False),
    Column("state_since", Time),  # null: since it was made
    Column("disabled_reason", Text),
    Column("secret", LargeBinary, nullable=False),  # encrypted, as the next
    Column("seed", LargeBinary),  # of its ed25519 key, once v1a was asked for
    Column("public_key", LargeBinary),
    # Raised with every change that a sender must know: caches then read it again.
    Column("version", Integer, nullable=False, server_default="1"),
    # The events that the audit checks: of transactions above `audited_from_xid`, since when its
    # filters and ordering are as they are now (null: none), and below `audited_until_xid`,
    # since when it was, or may have been, disabled (null: all).
    Column("audited_from_xid", TransactionId),
    Column("audited_until_xid", TransactionId),
    Column("created_at", Time, nullable=False),
    CheckConstraint(f"state IN ({one_of(SubscriberState)})", name="state"),
    CheckConstraint(f"type IN ({one_of(SubscriberType)})", name="type"),
    CheckConstraint(f"ordering IN ({one_of(Ordering)})", name="ordering"),
    CheckConstraint(f"format IN ({one_of(Format)})", name="format"),
    Index("ix_subscribers_account", "account_id"),
    Index("ix_subscribers_fan_out", "account_id", postgresql_where=text("type <> 'callback'")),
    Index(
        "ix_subscribers_callback",
        "account_id",
        "url",
        unique=True,
        postgresql_where=text("type = 'callback'"),
    ),
    Index(  # those of every account, without the hidden ones
        "ix_subscribers_made",
        "id",
        postgresql_include=["state"],
        postgresql_where=text("type IN ('webhook', 'nats', 'redis_stream')"),
    ),
    Index("ix_subscribers_public", "id", postgresql_where=text("public_key IS NOT NULL")),
)

# The owner is a subscriber, or an account (whose key signs what goes to callback_urls).
previous_signing_keys = Table(
    "previous_signing_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # encrypted, as the next
    Column("seed", LargeBinary),
    Column("public_key", LargeBinary),
    Column("expires_at", Time, nullable=False),
    Index("ix_previous_signing_keys_owner", "owner_id"),
)
