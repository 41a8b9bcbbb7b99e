"""Answers of the provider's that nobody can read are counted, for readiness to show.

Revision ID: 0009
Revises: 0008

One row is what the table has: nothing is rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    count = sa.Column("unreadable_answers", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("provider_state", count)
    op.add_column("provider_state", sa.Column("unreadable_since", time))
    op.add_column("provider_state", sa.Column("unreadable_at", time))
