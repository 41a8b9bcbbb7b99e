"""What subscribers may ask for, keys that retire, lanes, callback_urls, and events about
subscribers.

Revision ID: 0004
Revises: 0003

Nothing here rewrites or reads a table; what takes long on a large one is the next migration's.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.outgoing import TransactionId

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHECKS = {
    "type": "type IN ('webhook', 'nats', 'redis_stream', 'callback')",
    "ordering": "ordering IN ('per_subject', 'none')",
    "format": "format IN ('standard', 'cloudevents')",
}


def upgrade() -> None:
    _add_columns()
    op.alter_column("events", "subject_id", existing_type=sa.Text(collation="C"), nullable=True)
    for name, rule in CHECKS.items():
        op.execute(
            f"ALTER TABLE subscribers ADD CONSTRAINT ck_subscribers_{name} CHECK ({rule}) NOT VALID"
        )
    _create_tables()


def _add_columns() -> None:
    identifier, time = sa.Text(collation="C"), sa.DateTime(timezone=True)
    texts = postgresql.ARRAY(sa.Text())
    op.add_column("accounts", sa.Column("callback_secret", sa.LargeBinary()))
    op.add_column("subjects", sa.Column("callback_id", identifier))
    for column in (
        sa.Column("type", sa.Text(), server_default="webhook", nullable=False),
        sa.Column("channel", sa.Text()),
        sa.Column("credentials", sa.LargeBinary()),
        sa.Column("reference_types", texts),
        sa.Column("tags", texts),
        sa.Column("headers", sa.LargeBinary()),
        sa.Column("timeout", sa.Float()),
        sa.Column("schedule", postgresql.ARRAY(sa.Float())),
        sa.Column("ordering", sa.Text(), server_default="per_subject", nullable=False),
        sa.Column("format", sa.Text(), server_default="standard", nullable=False),
        sa.Column("signatures", texts, server_default="{v1}", nullable=False),
        sa.Column("seed", sa.LargeBinary()),
        sa.Column("public_key", sa.LargeBinary()),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("heard_since", time),
    ):
        op.add_column("subscribers", column)
    for column in (
        sa.Column("url", sa.Text()),
        sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False),
        sa.Column("replayed_at", time),
    ):
        op.add_column("deliveries", column)


def _create_tables() -> None:
    identifier, time = sa.Text(collation="C"), sa.DateTime(timezone=True)
    op.create_table(
        "retired_keys",
        sa.Column("id", identifier, nullable=False),
        sa.Column("owner_id", identifier, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.LargeBinary()),
        sa.Column("public_key", sa.LargeBinary()),
        sa.Column("until", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retired_keys")),
    )
    op.create_index("ix_retired_keys_owner", "retired_keys", ["owner_id"])
    op.create_table(
        "lanes",
        sa.Column("subscriber_id", identifier, nullable=False),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("max_rate", sa.Float()),
        sa.Column("rate", sa.Float()),
        sa.Column("rated_at", time),
        sa.Column("next_at", time),
        sa.Column("claimed_xid", TransactionId()),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", time),
        sa.Column("open_until", time),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("told", sa.Text()),
        sa.Column("told_at", time),
        sa.Column("why", sa.Text()),
        sa.Column("announced", sa.Text()),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(failures > 0) = (failing_since IS NOT NULL)", name=op.f("ck_lanes_failing")
        ),
        sa.CheckConstraint(
            "told IN ('failing', 'disabled', 'recovered')", name=op.f("ck_lanes_told")
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["subscribers.id"],
            name=op.f("fk_lanes_subscriber_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subscriber_id", name=op.f("pk_lanes")),
    )
    op.create_index(
        "ix_lanes_untold",
        "lanes",
        ["subscriber_id"],
        postgresql_where=sa.text("told IS NOT NULL AND told IS DISTINCT FROM announced"),
    )
