"""Keys may be pairs: an access key that names the caller, and a secret key that signs its tokens.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("secret", sa.LargeBinary()))
