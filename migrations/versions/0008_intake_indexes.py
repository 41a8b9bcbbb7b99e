"""The indexes of 0006, and its check: built while others read and write.

Revision ID: 0008
Revises: 0007

It runs outside a transaction, so every part of it may be run again after it broke off. The index of
the whole queue stays: processes of the release before claim by it, and places are counted in it.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_subjects_ready": "INDEX CONCURRENTLY {} ON subjects (account_id, next_try_at, id)"
    " WHERE state = 'queued' AND media_due_at IS NULL",
    "ix_subjects_media": "INDEX CONCURRENTLY {} ON subjects (account_id, media_due_at, id)"
    " WHERE state = 'queued' AND media_due_at IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever still reads, and nobody waits for it: no hurry.
        op.execute("SET lock_timeout = 0")
        op.execute("ALTER TABLE subjects VALIDATE CONSTRAINT ck_subjects_media")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute("CREATE " + definition.format(name))
        op.execute("SET lock_timeout = '5s'")  # as env.py has it
