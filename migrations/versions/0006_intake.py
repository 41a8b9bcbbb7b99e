"""Media given by URL are looked at before a subject may be submitted.

Revision ID: 0006
Revises: 0005

Nothing here rewrites or reads a table: what takes long on a large one is in 0008. One table alone,
so that nobody who holds another waits for this, and this for them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    identifier, time = sa.Text(collation="C"), sa.DateTime(timezone=True)
    op.add_column("subjects", sa.Column("media_due_at", time))
    op.add_column("subjects", sa.Column("media_token", identifier))
    tries = sa.Column("media_tries", sa.SmallInteger(), server_default="0", nullable=False)
    op.add_column("subjects", tries)
    op.execute(
        "ALTER TABLE subjects ADD CONSTRAINT ck_subjects_media"
        " CHECK (media_token IS NULL OR media_due_at IS NOT NULL) NOT VALID"
    )
