"""What is odd about a subject; which subscriber an event is about; and for the audit, from which
transaction to which a subscriber has heard all that it wants.

Revision ID: 0010
Revises: 0009

It runs outside a transaction, so that no table is locked while rows are written; every part of it
may be run again after it broke off. Events that a process of the release before still writes are
about nobody, so nobody is held to want them; and its subscribers are not audited before they change.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = (
    ("subjects", "warnings jsonb"),
    ("events", 'about_id text COLLATE "C"'),
    ("subscribers", "heard_from xid8"),
    ("subscribers", "heard_to xid8"),
)
# The id of an event about a subscriber was made of that one's: core/ids.py.
ABOUT = """
    UPDATE events SET about_id = 'sbr_' || split_part(id, '_', 2)
    WHERE subject_id IS NULL AND about_id IS NULL
"""
# Locked in the order of their ids, as whoever writes events does.
HEARD = """
    UPDATE subscribers SET heard_from = pg_current_xact_id() WHERE id IN (
        SELECT id FROM subscribers
        WHERE heard_from IS NULL AND state <> 'disabled' AND type <> 'callback'
        ORDER BY id FOR NO KEY UPDATE
    )
"""
BACKFILL = (ABOUT, HEARD)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for table, column in COLUMNS:
            op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}")
        for statement in BACKFILL:
            op.execute(statement)
