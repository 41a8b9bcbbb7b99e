"""Column types and naming rules that all tables share.

Ids are text that sorts by age (kit/ids.py) and is compared byte by byte (collation "C").
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

Id = Text(collation="C")
Time = DateTime(timezone=True)


class TransactionId(UserDefinedType[int]):
    """Postgres' type xid8: the id of a transaction, which orders the event feeds."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def one_of(words: Iterable[StrEnum]) -> str:
    """Words as an SQL list, to stand behind IN. A query must list the same ones to be served by a
    partial index on them."""
    return ", ".join(f"'{word}'" for word in sorted(words))
