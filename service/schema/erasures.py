"""Deletions at the provider of what it made of a subject that is to be erased."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from service.erasure.domain.erasure import ErasureState
from service.schema.base import Id, Time, metadata, one_of

erasures = Table(
    "erasures",
    metadata,
    # No foreign key: it is deleted with its subject, and a pending one goes on without it.
    Column("subject_id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("element_id", Text),  # to be deleted there; null: the provider is asked what it made
    Column("attempts", Integer, nullable=False, server_default="0"),  # that it did not stop
    Column("next_try_at", Time),  # or until when the lease of a try runs; null: it has ended
    Column("lease_token", Id),
    # Whether the provider refused our account or key at the last try: then one is tried at a time.
    Column("stopped", Boolean, nullable=False, server_default="false"),
    Column("error", JSONB(none_as_null=True)),  # why the last try did not do; null: none failed
    Column("requested_at", Time, nullable=False),  # for the last time
    Column("finished_at", Time),
    CheckConstraint(f"state IN ({one_of(ErasureState)})", name="state"),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(state = 'pending') = (next_try_at IS NOT NULL)", name="next_try"),
    CheckConstraint("state = 'pending' OR lease_token IS NULL", name="lease"),
    CheckConstraint("NOT stopped OR (state = 'pending' AND error IS NOT NULL)", name="stopped"),
    CheckConstraint(
        "(state <> 'failed' OR error IS NOT NULL) AND (state <> 'done' OR error IS NULL)",
        name="error",
    ),
    CheckConstraint("attempts >= 0", name="attempts"),
    Index(
        "ix_erasures_pending",
        "next_try_at",
        postgresql_where=text("state = 'pending' AND NOT stopped"),
    ),
    Index(
        "ix_erasures_stopped",
        "next_try_at",
        postgresql_include=["requested_at"],
        postgresql_where=text("stopped"),
    ),
)
