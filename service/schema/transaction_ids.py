"""How the transaction ids that events have follow from those of this Postgres cluster.

Feeds are in the order of transaction ids, and each cluster counts its own. So that a database goes
on in another one, where its dump was restored, what is added to the cluster's ids is raised once
(event_feed/store/transaction_ids.py), and no event is written anew. The row is a table of its own,
as every statement that writes or shows events reads it: it never changes otherwise.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Table

from service.schema.base import metadata

transaction_ids = Table(
    "transaction_ids",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("added", BigInteger, nullable=False),  # to the ids of this cluster
    Column("system_identifier", BigInteger, nullable=False),  # the cluster's: pg_control_system()
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("added >= 0", name="added"),
)

CURRENT = "pg_current_xact_id()"  # of this transaction
FIRST_OPEN = "pg_snapshot_xmin(pg_current_snapshot())"  # the lowest that may still write
NEXT = "pg_snapshot_xmax(pg_current_snapshot())"  # above all that have begun


def event_xid_number(cluster_id: str) -> str:
    """The SQL of a transaction id as events have it, as a bigint; `cluster_id` is the SQL of one
    that the cluster gave. It is reckoned once for a statement, not for each row."""
    return f"""(
        SELECT CAST(CAST({cluster_id} AS text) AS bigint) + added FROM transaction_ids WHERE id = 1
    )"""  # noqa: S608 - our own SQL


def event_xid(cluster_id: str) -> str:
    """As event_xid_number(), as an xid8."""
    return f"""(
        SELECT CAST(CAST(CAST(CAST({cluster_id} AS text) AS bigint) + added AS text) AS xid8)
        FROM transaction_ids WHERE id = 1
    )"""  # noqa: S608 - our own SQL
