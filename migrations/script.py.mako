"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Old and new processes run side by side on what this leaves: only add here. What nobody reads any
more is dropped by a later migration, after every old process is gone.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
