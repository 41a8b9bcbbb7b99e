"""Usage of days that are reckoned for good, and requests that were refused."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, ForeignKey, Numeric, Table, Text

from service.schema.base import Id, metadata, one_of
from service.usage.domain.usage import Outcome

# A day is here once the first of its subjects was pruned; until then it is reckoned from those.
usage_days = Table(
    "usage_days",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # in UTC, of subjects.finished_at
    Column("reference_type", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("units", Numeric, nullable=False),  # that the provider deducted
    Column("creates_saved", BigInteger, nullable=False),  # sums of subjects.creates_saved
    CheckConstraint(f"outcome IN ({one_of(Outcome)})", name="outcome"),
)

# Requests that broke a rule, which nothing else is stored of.
refusals = Table(
    "refusals",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # in UTC
    Column("reference_type", Text, primary_key=True),  # empty: it named none that there is
    Column("count", BigInteger, nullable=False),
)
