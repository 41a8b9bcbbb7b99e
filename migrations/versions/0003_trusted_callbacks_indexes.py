"""The indexes of 0002, and its check: built while others read and write.

Revision ID: 0003
Revises: 0002

It runs outside a transaction, so every part of it may be run again after it broke off.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_callbacks_unknown": "callbacks (task_id) WHERE verdict = 'unknown'",
    "ix_callbacks_verdict": "callbacks (verdict, id) WHERE verdict <> 'applied'",
    "ix_callbacks_doubtful": "callbacks (trust, id) INCLUDE (size)"
    " WHERE verdict = 'rejected' OR trust = 'none'",
    "ix_subjects_finished": "subjects (finished_at) WHERE finished_at IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever still reads, and nobody waits for it: no hurry.
        op.execute("SET lock_timeout = 0")
        op.execute("ALTER TABLE callbacks VALIDATE CONSTRAINT ck_callbacks_trust")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        op.execute("SET lock_timeout = '5s'")  # as env.py has it
