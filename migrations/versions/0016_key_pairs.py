"""Keys may be pairs: an access key that names the caller, and a secret key that signs its tokens.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("secret", sa.LargeBinary()))
