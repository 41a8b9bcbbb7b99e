"""Pruning: which round was begun last, and how far each walk over what is old has come."""

from sqlalchemy import CheckConstraint, Column, Integer, SmallInteger, Table, Text

from service.retention.domain.kinds import WALKED
from service.schema.base import Id, Time, metadata, one_of

pruning = Table(
    "pruning",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("started_at", Time),  # when a round was begun last, by whichever worker; null: never
    Column("pause_reason", Text),  # why nothing is pruned at present, in words; null: it is
    CheckConstraint("id = 1", name="one_row"),
)

# A walk goes by age, and passes over what must be kept for now. It begins anew after a while, so
# that this is not read each minute.
pruning_walks = Table(
    "pruning_walks",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("began_at", Time, nullable=False),
    Column("after_at", Time, nullable=False),  # it has come to what ended then,
    Column("after_id", Id, nullable=False),  # and, of that, has this id
    Column("kept", Integer, nullable=False),  # how many it has passed over
    CheckConstraint(f"kind IN ({one_of(WALKED)})", name="kind"),
    CheckConstraint("kept >= 0", name="kept"),
)
