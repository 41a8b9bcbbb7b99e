"""What operators see and do: snapshots of what waits, holds, the action log, bulk operations.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text(collation="C")  # sorts by age, compared byte by byte
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "stage_snapshots",
        sa.Column("minute", TIME, primary_key=True),
        sa.Column("stage", sa.Text(), primary_key=True),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("oldest_at", TIME),
        sa.CheckConstraint(
            "stage IN ('delivery_due', 'delivery_retrying', 'erasure_due', 'media_check', 'poll_due', 'queued', 'submitting', 'unconfirmed', 'with_provider')",
            name="stage",
        ),
        sa.CheckConstraint("(items = 0) = (oldest_at IS NULL)", name="oldest"),
    )
    op.create_table(
        "snapshot",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("started_at", TIME),
        sa.Column("taken_at", TIME),
        sa.Column("gauges", postgresql.JSONB()),
        sa.Column("audit", postgresql.JSONB()),
        sa.Column("audited_at", TIME),
        sa.Column("audit_started_at", TIME),
        sa.Column("audit_findings", postgresql.JSONB()),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "holds",
        sa.Column("id", ID, primary_key=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id")),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("what IN ('deliveries', 'intake', 'submissions')", name="what"),
    )
    op.create_table(
        "actions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", postgresql.JSONB(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_id", ID),
        sa.Column("account_id", ID),
        sa.Column("request_id", sa.Text()),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
    )
    op.create_index("ix_actions_action", "actions", ["action", "id"])
    op.create_index(
        "ix_actions_object",
        "actions",
        ["object_id", "id"],
        postgresql_where=sa.text("object_id IS NOT NULL"),
    )
    op.create_index(
        "ix_actions_account",
        "actions",
        ["account_id", "id"],
        postgresql_where=sa.text("account_id IS NOT NULL"),
    )
    op.create_table(
        "operations",
        sa.Column("id", ID, primary_key=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id")),
        sa.Column("filter", postgresql.JSONB(), nullable=False),
        sa.Column("cut_off", TIME, nullable=False),
        sa.Column("rate", sa.Float()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("count_exact", sa.Boolean(), nullable=False),
        sa.Column("cannot", postgresql.JSONB(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("skipped", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("first", postgresql.JSONB(), nullable=False),
        sa.Column("position", postgresql.JSONB()),
        sa.Column("next_step_at", TIME),
        sa.Column("lease_token", ID),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.CheckConstraint("what IN ('cancel', 'replay', 'resend')", name="what"),
        sa.CheckConstraint("state IN ('done', 'running', 'stopped')", name="state"),
        sa.CheckConstraint(
            "stop_reason IN ('asked', 'left_behind', 'subscriber_disabled', 'subscriber_gone')",
            name="stop_reason",
        ),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished"),
        sa.CheckConstraint("(state = 'running') = (next_step_at IS NOT NULL)", name="step"),
        sa.CheckConstraint("state = 'running' OR lease_token IS NULL", name="lease"),
        sa.CheckConstraint("(state = 'stopped') = (stop_reason IS NOT NULL)", name="stopped"),
    )
    op.create_index(
        "ix_operations_running",
        "operations",
        ["next_step_at"],
        postgresql_where=sa.text("state = 'running'"),
    )
    op.execute("INSERT INTO snapshot (id) VALUES (1)")
