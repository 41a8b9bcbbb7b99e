"""The indexes of lists over every account: built while others read and write.

Revision ID: 0012
Revises: 0011

It runs outside a transaction, so every part of it may be run again after it broke off.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_subjects_external_task_id": "INDEX CONCURRENTLY {} ON subjects (external_task_id, id)"
    " WHERE external_task_id > ''",
    "ix_events_all": "INDEX CONCURRENTLY {} ON events (xid, position) WHERE position > 0",
    "ix_subscribers_made": "INDEX CONCURRENTLY {} ON subscribers (id)"
    " WHERE type IN ('webhook', 'nats', 'redis_stream')",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever still reads, and nobody waits for it: no hurry.
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute("CREATE " + definition.format(name))
        op.execute("SET lock_timeout = '5s'")  # as env.py has it
