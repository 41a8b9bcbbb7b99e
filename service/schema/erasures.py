"""Deletions at the provider of what it made of a subject that is to be erased."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, text

from service.erasure.domain.erasure import ErasureState
from service.schema.base import Id, Time, metadata, one_of

erasures = Table(
    "erasures",
    metadata,
    Column("subject_id", Id, primary_key=True),  # no foreign key: it is deleted with its subject
    Column("state", Text, nullable=False),
    Column("element_id", Text),  # what is to be deleted there; null: nothing was made
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_try_at", Time),  # or until when the lease of a try runs; null: it has ended
    Column("lease_token", Id),
    Column("error", Text),  # why the last try failed, in words
    Column("requested_at", Time, nullable=False),
    Column("finished_at", Time),
    CheckConstraint(f"state IN ({one_of(ErasureState)})", name="state"),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(state = 'pending') = (next_try_at IS NOT NULL)", name="next_try"),
    CheckConstraint("state = 'pending' OR lease_token IS NULL", name="lease"),
    Index("ix_erasures_pending", "next_try_at", postgresql_where=text("state = 'pending'")),
)
