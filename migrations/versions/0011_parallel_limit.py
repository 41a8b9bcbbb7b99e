"""When the parallel limit was learnt, and when there was last housekeeping.

Revision ID: 0011
Revises: 0010

The limit grows again from the moment at which it was learnt. Processes of the release before go on
by `learnt_until`, which nothing else reads.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("provider_state", sa.Column("learnt_at", sa.DateTime(timezone=True)))
    op.add_column("provider_state", sa.Column("housekeeping_at", sa.DateTime(timezone=True)))
