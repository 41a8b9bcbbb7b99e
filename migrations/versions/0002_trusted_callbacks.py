"""Callback secrets that change while we run, what vouches for a callback, and learnt durations.

Revision ID: 0002
Revises: 0001

Nothing here rewrites or reads a table; what takes long on a large one is the next migration's.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "callback_secrets",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callback_secrets")),
        sa.UniqueConstraint(
            "source", "fingerprint", name=op.f("uq_callback_secrets_source_fingerprint")
        ),
    )
    op.add_column(
        "provider_state",
        sa.Column("secrets_version", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("provider_state", sa.Column("usual", postgresql.JSONB(), nullable=True))
    op.add_column(
        "provider_state", sa.Column("look_ups_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("callbacks", sa.Column("trust", sa.Text(), nullable=True))
    op.add_column("callbacks", sa.Column("task_id", sa.Text(collation="C"), nullable=True))
    op.add_column("callbacks", sa.Column("status", sa.Text(), nullable=True))
    op.add_column("callbacks", sa.Column("task_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("callbacks", sa.Column("token", sa.Text(collation="C"), nullable=True))
    op.add_column("callbacks", sa.Column("size", sa.Integer(), nullable=True))
    op.execute(
        "ALTER TABLE callbacks ADD CONSTRAINT ck_callbacks_trust"
        " CHECK (trust IN ('signed', 'address', 'none')) NOT VALID"
    )
