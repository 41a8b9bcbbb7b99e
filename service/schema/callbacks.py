"""Raw callbacks of the provider and other sources, and the webhook secrets that verify them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.callbacks.domain.callback import Verification
from service.callbacks.domain.verdicts import Verdict
from service.schema.base import Id, Time, metadata, one_of

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("subject_id", Id),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text),
    Column("times_received", Integer, nullable=False, server_default="1"),
    Column("received_at", Time, nullable=False),
    Column("verification", Text, nullable=False),  # what proves where it comes from
    Column("task_id", Id),  # the provider's task; null if it was rejected
    Column("status", Text),  # the provider's word for the task's status; null if it was rejected
    Column("provider_updated_at", Time),  # the provider's time of that status
    Column("token", Id),  # that of a rejected one's address, if it names no subject
    Column("size", Integer, nullable=False),  # bytes of the body
    # SHA-256 of the body that came, which was erased with what its subject held; null: it was not.
    Column("erased_sha256", LargeBinary),
    UniqueConstraint("source", "dedup_key"),
    CheckConstraint(f"verdict IN ({one_of(Verdict)})", name="verdict"),
    Index("ix_callbacks_subject", "subject_id", postgresql_where=text("subject_id IS NOT NULL")),
    CheckConstraint(f"verification IN ({one_of(Verification)})", name="verification"),
    Index(  # what names a task under another subject's address, or under none that is known
        "ix_callbacks_task",
        "task_id",
        postgresql_where=text("verdict IN ('unknown', 'mismatch')"),
    ),
    Index("ix_callbacks_verdict", "verdict", "id", postgresql_where=text("verdict <> 'applied'")),
    Index(  # what anybody can make us store, and is bounded
        "ix_callbacks_untrusted",
        "verification",
        "id",
        postgresql_include=["size"],
        postgresql_where=text("verdict = 'rejected' OR verification = 'none'"),
    ),
)

webhook_secrets = Table(  # beside those of the settings; the version is in provider_state
    "webhook_secrets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # tells it from others, without showing it
    Column("secret", LargeBinary, nullable=False),  # encrypted: kit/crypto/encryption.py
    Column("created_at", Time, nullable=False),
    UniqueConstraint("source", "fingerprint"),
)
