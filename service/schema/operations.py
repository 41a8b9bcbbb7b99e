"""Operations: snapshots of what waits, holds, the action log, and bulk operations."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.operations.domain.hold import HoldTarget
from service.operations.domain.operation import OperationKind, OperationState, StopReason
from service.operations.domain.stages import Stage
from service.schema.base import Id, Time, metadata, one_of

# What waited in each stage, one row a minute; the newest is written anew while its minute lasts.
stage_snapshots = Table(
    "stage_snapshots",
    metadata,
    Column("minute", Time, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("items", Integer, nullable=False),  # counted up to a limit
    Column("oldest_at", Time),  # since when the oldest of them waits; null: there are none
    CheckConstraint(f"stage IN ({one_of(Stage)})", name="stage"),
    CheckConstraint("(items = 0) = (oldest_at IS NULL)", name="oldest"),
)

# The newest snapshot: when it was taken, by whichever process, and what else it found.
snapshot = Table(
    "snapshot",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("started_at", Time),  # when a process began to take one: others leave it alone
    Column("taken_at", Time),  # null: none was taken yet
    Column("gauges", JSONB(none_as_null=True)),
    # By check (operations/domain/audit_checks.py), how many violations the workers' audit knows of.
    Column("audit", JSONB(none_as_null=True)),
    Column("audited_at", Time),  # when it was done last; null: never
    Column("audit_started_at", Time),  # when it was last begun, by whichever worker
    Column("audit_findings", JSONB(none_as_null=True)),  # by check, what these are about
    CheckConstraint("id = 1", name="one_row"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("what", Text, nullable=False),
    Column("account_id", Id, ForeignKey("accounts.id")),  # null: of every account
    Column("reason", Text, nullable=False),
    Column("until", Time),  # null: until it is released
    Column("created_at", Time, nullable=False),
    CheckConstraint(f"what IN ({one_of(HoldTarget)})", name="what"),
)

# Who did what, by hand or with an operator's key. Ids have the time in them.
actions = Table(
    "actions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Time, nullable=False),
    Column("actor", JSONB, nullable=False),  # accounts/domain/actor.py
    Column("action", Text, nullable=False),
    Column("object_id", Id),  # what it was done to; null: nothing that has an id
    Column("account_id", Id),  # whose that is; null: no account's
    Column("request_id", Text),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Index("ix_actions_action", "action", "id"),
    Index("ix_actions_object", "object_id", "id", postgresql_where=text("object_id IS NOT NULL")),
    Index(
        "ix_actions_account", "account_id", "id", postgresql_where=text("account_id IS NOT NULL")
    ),
)

# Resend, replay and cancel of many, done by workers in small steps.
operations = Table(
    "operations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("what", Text, nullable=False),
    Column("account_id", Id, ForeignKey("accounts.id")),  # null: over every account
    Column("filter", JSONB, nullable=False),
    Column("cut_off", Time, nullable=False),  # only what was there by then
    Column("rate", Float),  # items a second; null: as fast as it goes
    Column("state", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("count_exact", Boolean, nullable=False),  # false: there are more, counting took too long
    Column("cannot", JSONB, nullable=False),  # how many more it cannot be done to, by reason
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("skipped", BigInteger, nullable=False, server_default="0"),  # had changed meanwhile
    Column("failed", BigInteger, nullable=False, server_default="0"),
    Column("first", JSONB, nullable=False),  # the first ten that it is about
    Column("position", JSONB(none_as_null=True)),  # up to where it came; null: not begun
    Column("next_step_at", Time),  # when it goes on, or until when the lease of a step runs
    Column("lease_token", Id),
    Column("stop_reason", Text),
    Column("created_at", Time, nullable=False),
    Column("finished_at", Time),
    CheckConstraint(f"what IN ({one_of(OperationKind)})", name="what"),
    CheckConstraint(f"state IN ({one_of(OperationState)})", name="state"),
    CheckConstraint(f"stop_reason IN ({one_of(StopReason)})", name="stop_reason"),
    CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(state = 'running') = (next_step_at IS NOT NULL)", name="step"),
    CheckConstraint("state = 'running' OR lease_token IS NULL", name="lease"),
    CheckConstraint("(state = 'stopped') = (stop_reason IS NOT NULL)", name="stopped"),
    Index("ix_operations_running", "next_step_at", postgresql_where=text("state = 'running'")),
)
