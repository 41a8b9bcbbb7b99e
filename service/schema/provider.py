"""What all workers must know of the provider: one row."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from service.schema.base import Time, metadata

provider_state = Table(
    "provider_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("stopped_code", Integer),  # not null: only one probe a minute is submitted
    Column("stopped_message", Text),
    Column("next_probe_at", Time),
    # From code 1303: submission/domain/parallel_limit.py.
    Column("observed_parallel_limit", Integer),
    Column("parallel_limit_observed_at", Time),
    # Raised with every change of webhook_secrets: what was verified under another is verified anew.
    Column("secrets_version", BigInteger, nullable=False, server_default="0"),
    # Reference type → seconds that a task takes.
    Column("typical_durations", JSONB(none_as_null=True)),
    # Look-ups made so far use up the permitted rate until then.
    Column("poll_rate_used_until", Time),
    # Consecutive answers that could not be read; when the first and the last of them came.
    Column("unreadable_answers", BigInteger, nullable=False, server_default="0"),
    Column("unreadable_since", Time),
    Column("last_unreadable_at", Time),
    CheckConstraint("id = 1", name="one_row"),
)
