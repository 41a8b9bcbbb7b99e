"""Usage: sums of subjects by the day that they ended on, and requests that were refused."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Numeric,
    Table,
    Text,
)

from service.schema.base import Id, Time, metadata, one_of
from service.usage.domain.usage import Outcome

# A day's usage is the sums of its pruned subjects, which stay for good, and of those that are kept:
# from here if the day has a row in usage_reckonings, else from the subjects themselves.
usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Date, primary_key=True),  # in UTC, of subjects.finished_at
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("reference_type", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("pruned", Boolean, primary_key=True),  # of which of the two
    Column("count", BigInteger, nullable=False),
    Column("units", Numeric, nullable=False),  # that the provider deducted
    # Of `count`: those that the provider may have charged for, and did not say how much.
    Column("units_unknown", BigInteger, nullable=False),
    Column("creates_saved", BigInteger, nullable=False),  # sums of subjects.creates_saved
    CheckConstraint(f"outcome IN ({one_of(Outcome)})", name="outcome"),
)

# Days whose kept subjects are summed up in usage_days. Pruning one of them deletes the day's row.
usage_reckonings = Table(
    "usage_reckonings",
    metadata,
    Column("day", Date, primary_key=True),  # in UTC
    Column("reckoned_at", Time, nullable=False),
)

# Requests that broke a rule, which nothing else is stored of.
refusals = Table(
    "refusals",
    metadata,
    Column("day", Date, primary_key=True),  # in UTC
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("reference_type", Text, primary_key=True),  # empty: it named none that there is
    Column("count", BigInteger, nullable=False),
)
