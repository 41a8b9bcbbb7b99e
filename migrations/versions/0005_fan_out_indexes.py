"""The indexes of 0004, and its checks: built while others read and write.

Revision ID: 0005
Revises: 0004

It runs outside a transaction, so every part of it may be run again after it broke off.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_subscribers_heard": "INDEX CONCURRENTLY {} ON subscribers (account_id)"
    " WHERE type <> 'callback'",
    "ix_subscribers_callback": "UNIQUE INDEX CONCURRENTLY {} ON subscribers (account_id, url)"
    " WHERE type = 'callback'",
    "ix_subscribers_public": "INDEX CONCURRENTLY {} ON subscribers (id)"
    " WHERE public_key IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever still reads, and nobody waits for it: no hurry.
        op.execute("SET lock_timeout = 0")
        for name in ("type", "ordering", "format"):
            op.execute(f"ALTER TABLE subscribers VALIDATE CONSTRAINT ck_subscribers_{name}")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute("CREATE " + definition.format(name))
        op.execute("SET lock_timeout = '5s'")  # as env.py has it
