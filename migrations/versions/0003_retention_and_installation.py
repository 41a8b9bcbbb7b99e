"""What is kept and let go: usage by day, erasures at the provider, and which installation it is.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text(collation="C")  # sorts by age, compared byte by byte
TIME = sa.DateTime(timezone=True)


class TransactionId(UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


# What is pruned in a day is a hundredth of a table, or less. As it comes with Postgres, autovacuum
# waits for a fifth: so long the space of what is gone is not used again, and each table and index
# grows by as much first.
PRUNED = ("subjects", "events", "deliveries", "attempts", "callbacks")


def upgrade() -> None:
    for table in PRUNED:
        op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02)")
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("reference_type", sa.Text(), primary_key=True),
        sa.Column("outcome", sa.Text(), primary_key=True),
        sa.Column("pruned", sa.Boolean(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.Numeric(), nullable=False),
        sa.Column("units_unknown", sa.BigInteger(), nullable=False),
        sa.Column("creates_saved", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('canceled', 'failed', 'refused', 'succeeded')", name="outcome"
        ),
    )
    op.create_table(
        "usage_reckonings",
        sa.Column("day", sa.Date(), primary_key=True, autoincrement=False),
        sa.Column("reckoned_at", TIME, nullable=False),
    )
    op.create_table(
        "refusals",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("reference_type", sa.Text(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("subject_id", ID, primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("element_id", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_try_at", TIME),
        sa.Column("lease_token", ID),
        sa.Column("stopped", sa.Boolean(), nullable=False, server_default="false"),
        sa.Column("error", JSONB()),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.CheckConstraint("state IN ('done', 'failed', 'pending')", name="state"),
        sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
        sa.CheckConstraint("(state = 'pending') = (next_try_at IS NOT NULL)", name="next_try"),
        sa.CheckConstraint("state = 'pending' OR lease_token IS NULL", name="lease"),
        sa.CheckConstraint(
            "NOT stopped OR (state = 'pending' AND error IS NOT NULL)", name="stopped"
        ),
        sa.CheckConstraint(
            "(state <> 'failed' OR error IS NOT NULL) AND (state <> 'done' OR error IS NULL)",
            name="error",
        ),
        sa.CheckConstraint("attempts >= 0", name="attempts"),
    )
    op.create_index(
        "ix_erasures_pending",
        "erasures",
        ["next_try_at"],
        postgresql_where=sa.text("state = 'pending' AND NOT stopped"),
    )
    op.create_index(
        "ix_erasures_stopped",
        "erasures",
        ["next_try_at"],
        postgresql_include=["requested_at"],
        postgresql_where=sa.text("stopped"),
    )
    op.create_table(
        "pruning",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("started_at", TIME),
        sa.Column("pause_reason", sa.Text()),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.execute("INSERT INTO pruning (id) VALUES (1)")
    op.create_table(
        "pruning_walks",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("after_at", TIME, nullable=False),
        sa.Column("after_id", ID, nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('canceled', 'failed', 'subscriber_events', 'succeeded')", name="kind"
        ),
        sa.CheckConstraint("kept >= 0", name="kept"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("installation_id", ID, nullable=False),
        sa.Column("public_url", sa.Text()),
        sa.Column("last_moment", TIME),
        sa.Column("held_reason", sa.Text()),
        sa.Column("held_since", TIME),
        sa.Column("feed_epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("epoch_before", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("epoch_xid", TransactionId()),
        sa.Column("epoch_position", sa.BigInteger()),
        sa.Column("pruned_xid", TransactionId()),
        sa.Column("pruned_position", sa.BigInteger()),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.CheckConstraint("(held_reason IS NULL) = (held_since IS NULL)", name="held"),
    )
    op.create_table(
        "transaction_ids",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("system_identifier", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.CheckConstraint("added >= 0", name="added"),
    )
    op.execute(
        "INSERT INTO transaction_ids (id, added, system_identifier)"
        " SELECT 1, 0, system_identifier FROM pg_control_system()"
    )
    op.execute(
        "INSERT INTO installation (id, installation_id)"
        " VALUES (1, 'ins_' || replace(gen_random_uuid()::text, '-', ''))"
    )
