"""Subjects, their media, and the idempotency keys of the requests that created them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.schema.base import Id, Time, metadata, one_of
from service.subjects.domain.lifecycle import POLLED, RANK, TERMINAL, WITH_PROVIDER

subjects = Table(
    "subjects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("external_task_id", Id),
    Column("fingerprint", Text, nullable=False),
    Column("document", JSONB, nullable=False),  # the request; its Base64 media by hash
    Column("tags", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),  # the sequence of its last event
    Column("provider_task_id", Id),
    Column("provider_updated_at", Time),
    Column("result", JSONB(none_as_null=True)),
    Column("error", JSONB(none_as_null=True)),
    Column("lease_token", Id),
    Column("lease_until", Time),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("claimed_at", Time),
    Column("available_at", Time, nullable=False),
    Column("poll_count", Integer, nullable=False, server_default="0"),
    Column("next_poll_at", Time),
    Column("deadline", Time, nullable=False),
    Column("callback_subscriber_id", Id),  # the hidden subscriber of its callback_url
    # When its media given by URL are to be checked, or until when the lease of that check runs;
    # null: there are none, or they were found good.
    Column("media_check_at", Time),
    Column("media_lease_token", Id),
    Column("media_check_attempts", SmallInteger, nullable=False, server_default="0"),
    Column("warnings", JSONB(none_as_null=True)),  # null: there are none
    Column("traceparent", Text),  # of the span that accepted it (W3C); null: nothing is traced
    # What was learnt about it otherwise than by callbacks, oldest first; null: nothing yet.
    Column("signals", JSONB(none_as_null=True)),
    Column("units", Numeric),  # that the provider deducted for it; null: it did not say
    # Times that the provider, asked after a lost answer, had it: each saved another create.
    Column("creates_saved", SmallInteger, nullable=False, server_default="0"),
    Column("erased_at", Time),  # when what it held was wiped; null: it was not
    # When its deletion at the provider was asked for last, which is in `erasures`; null: never.
    Column("erasure_requested_at", Time),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("finished_at", Time),
    CheckConstraint(f"state IN ({one_of(frozenset(RANK))})", name="state"),
    CheckConstraint(
        f"(state IN ({one_of(TERMINAL)})) = (finished_at IS NOT NULL)", name="finished"
    ),
    CheckConstraint(
        "(state = 'submitting') = (lease_token IS NOT NULL)"
        " AND (lease_token IS NULL) = (lease_until IS NULL)",
        name="lease",
    ),
    CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="result"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("version >= 1 AND attempts >= 0 AND poll_count >= 0", name="counts"),
    CheckConstraint(f"(next_poll_at IS NOT NULL) = (state IN ({one_of(POLLED)}))", name="poll"),
    CheckConstraint("media_lease_token IS NULL OR media_check_at IS NOT NULL", name="media"),
    CheckConstraint("erased_at IS NULL OR finished_at IS NOT NULL", name="erased"),
    Index(
        "ix_subjects_queued",
        "account_id",
        "available_at",
        "id",
        postgresql_where=text("state = 'queued'"),
    ),
    Index(  # the queue of what may be submitted
        "ix_subjects_ready",
        "account_id",
        "available_at",
        "id",
        postgresql_where=text("state = 'queued' AND media_check_at IS NULL"),
    ),
    Index(  # the queue of what has media to be checked first
        "ix_subjects_media_check",
        "account_id",
        "media_check_at",
        "id",
        postgresql_where=text("state = 'queued' AND media_check_at IS NOT NULL"),
    ),
    Index(
        "ix_subjects_with_provider",
        "lease_until",
        postgresql_where=text(f"state IN ({one_of(WITH_PROVIDER)})"),
    ),
    Index("ix_subjects_poll", "next_poll_at", postgresql_where=text("next_poll_at IS NOT NULL")),
    # Unfinished subjects by state, the earliest deadline first: what is past it, and what waits
    # longest. A subject is in one of the two.
    Index(
        "ix_subjects_unfinished",
        "state",
        "deadline",
        postgresql_include=["created_at", "updated_at", "claimed_at"],
        postgresql_where=text("finished_at IS NULL AND media_check_at IS NULL"),
    ),
    Index(
        "ix_subjects_unfinished_media",
        "state",
        "deadline",
        postgresql_include=["created_at", "updated_at", "claimed_at"],
        postgresql_where=text("finished_at IS NULL AND media_check_at IS NOT NULL"),
    ),
    # Finished subjects by their end: what is kept long enough, and what ended on a day.
    Index(
        "ix_subjects_finished",
        "state",
        "finished_at",
        "id",
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index("ix_subjects_list", "account_id", "created_at", "id"),
    # For the list of every account. Its condition holds for every external id, and only that list's
    # query has it: an account's list must not be read by this index.
    Index(
        "ix_subjects_external_task_id",
        "external_task_id",
        "id",
        postgresql_where=text("external_task_id > ''"),
    ),
    # Unique where they are known: many subjects have no external id, and none has the provider's at
    # first, and each entry costs every later move.
    Index(
        "uq_subjects_account_id_external_task_id",
        "account_id",
        "external_task_id",
        unique=True,
        postgresql_where=text("external_task_id IS NOT NULL"),
    ),
    Index(
        "uq_subjects_provider_task_id",
        "provider_task_id",
        unique=True,
        postgresql_where=text("provider_task_id IS NOT NULL"),
    ),
)

media = Table(
    "media",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the bytes, in hex
    Column("bytes", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
)

subject_media = Table(  # which unfinished subject needs which media; gone when it ends
    "subject_media",
    metadata,
    Column("subject_id", Id, ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, ForeignKey("media.hash"), primary_key=True),
    Index("ix_subject_media_hash", "hash"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("key", Id, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    # No foreign key: a subject is kept for longer than its keys are bound.
    Column("subject_id", Id, nullable=False),
    Column("created_at", Time, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
