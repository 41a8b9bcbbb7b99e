"""Deliveries of events to subscribers, their attempts, and the health of each subscriber."""

from sqlalchemy import (
    Boolean,
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

from service.delivery.domain.delivery_state import DeliveryState
from service.schema.base import Id, Time, TransactionId, metadata, one_of
from service.subjects.domain.event import HealthNotice

# Circuit breaker and rate of a subscriber; no row: it is healthy, without limits.
subscriber_health = Table(
    "subscriber_health",
    metadata,
    Column("subscriber_id", Id, ForeignKey("subscribers.id", ondelete="CASCADE"), primary_key=True),
    # The most deliveries at once that the account allows; null: no limit.
    Column("concurrency", Integer),
    # The most deliveries a second that the account allows; null: no limit.
    Column("max_rate", Float),
    Column("current_rate", Float),  # deliveries a second that it seems to take; null: not limited
    Column("rate_changed_at", Time),
    Column("rate_limited_until", Time),  # the claims so far use up the rate until then
    # The transaction of the last claim under limits: a claim that overlaps with it must wait.
    Column("last_claim_xid", TransactionId),
    Column("failures", Integer, nullable=False, server_default="0"),  # consecutive ones
    Column("failing_since", Time),  # the time of the first of them
    # Not null: the circuit breaker is open, and from this time on lets one probe through at a time.
    Column("circuit_open_until", Time),
    Column("failed_probes", Integer, nullable=False, server_default="0"),  # since it opened
    Column("status", Text),  # of which the account is to be notified: a HealthNotice
    Column("status_since", Time),
    Column("reason", Text),  # of the status, in words
    Column("notified_status", Text),  # of which the account was last notified
    Column("sequence", Integer, nullable=False, server_default="0"),  # of its last event about it
    CheckConstraint("(failures > 0) = (failing_since IS NOT NULL)", name="failing"),
    CheckConstraint(f"status IN ({one_of(HealthNotice)})", name="status"),
    Index(
        "ix_subscriber_health_unnotified",
        "subscriber_id",
        postgresql_where=text("status IS NOT NULL AND status IS DISTINCT FROM notified_status"),
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    # Made of the ids of the event and of the subscriber: there is one for the two.
    Column("id", Id, primary_key=True),
    # No foreign keys: the statement that writes a delivery writes its event, and has its subscriber
    # locked; a subscriber is deleted once none of its deliveries are left.
    Column("event_id", Id, nullable=False),
    Column("subscriber_id", Id, nullable=False),
    # Deliveries with the same key are sent in order: the subject's id; else the event's own id.
    Column("ordering_key", Id, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("url", Text),  # the callback_url, if its subscriber is a hidden one of callback_urls
    Column("state", Text, nullable=False),
    # Null while pending: it waits for a delivery of an earlier event of the same subject.
    Column("due_at", Time),
    Column("lease_token", Id),
    # How many deliveries were made to wait behind it. It is raised by whoever makes one, so that a
    # record that ends this one knows of them: see delivery/store/record.py.
    Column("followers", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # When it was last replayed, and its attempts by then; its schedule began anew.
    Column("replayed_at", Time),
    Column("attempts_at_replay", Integer, nullable=False, server_default="0"),
    Column("created_at", Time, nullable=False),
    Column("finished_at", Time),
    CheckConstraint(f"state IN ({one_of(DeliveryState)})", name="state"),
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
    Index("ix_deliveries_subscriber", "subscriber_id", "created_at"),
    Index(  # what was given up, to be sent anew
        "ix_deliveries_dead",
        "subscriber_id",
        "created_at",
        "id",
        postgresql_where=text("state = 'dead'"),
    ),
    Index(
        "ix_deliveries_order",
        "subscriber_id",
        "ordering_key",
        "sequence",
        postgresql_where=text("state = 'pending'"),
    ),
    # Those that failed, and are tried again; one that succeeds at once is never in it.
    Index(
        "ix_deliveries_retrying",
        "created_at",
        postgresql_include=["replayed_at"],
        postgresql_where=text("state = 'pending' AND attempts > attempts_at_replay"),
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
    Index(  # those whose answer is kept, by age: answers go sooner than their attempts
        "ix_attempts_answered",
        "started_at",
        postgresql_where=text("response_body <> ''"),
    ),
)
