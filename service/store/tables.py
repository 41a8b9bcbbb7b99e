"""The tables of what comes in, with the constraints that keep the law whoever writes. Migrations
lead here, and to those of what goes out: outgoing.py.

Identifiers are text that sorts by age (core/ids.py), compared byte by byte (collation "C").
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.core.lifecycle import RANK, TERMINAL, WITH_PROVIDER, State

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


def one_of(states: frozenset[State]) -> str:
    """States as SQL has them. What seeks them must say so, to be served by a partial index."""
    return ", ".join(f"'{state}'" for state in sorted(states))


accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # When a subject of this account was last claimed: accounts take turns.
    Column("last_claimed_at", Time),
    Column("callback_url_secret", LargeBinary),  # signs what goes to callback_urls; sealed
    Column("rate_used_until", Time),  # requests made so far use up the permitted rate until then
    Column("created_at", Time, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # SHA-256 of the whole key; of a pair, of its access key.
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("secret", LargeBinary),  # of a pair: its secret key, sealed as in steps/vault.py
    Column("prefix", Text, nullable=False),  # its first characters, to know it by
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
)

provider_state = Table(  # one row: what all workers must know of the provider
    "provider_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("stopped_code", Integer),  # set: nothing is submitted but one probe a minute
    Column("stopped_message", Text),
    Column("next_probe_at", Time),
    Column(
        "observed_parallel_limit", Integer
    ),  # from code 1303, at parallel_limit_observed_at; core/parallel_limit.py
    # Raised with every change of webhook_secrets: what was checked under another is checked anew.
    Column("secrets_version", BigInteger, nullable=False, server_default="0"),
    Column(
        "typical_durations", JSONB(none_as_null=True)
    ),  # reference type → seconds that a task takes
    Column(
        "poll_rate_used_until", Time
    ),  # look-ups made so far use up the permitted rate until then
    # Answers in a row that nobody could read; when the first and the newest of them came.
    Column("unreadable_answers", BigInteger, nullable=False, server_default="0"),
    Column("unreadable_since", Time),
    Column("last_unreadable_at", Time),
    Column("parallel_limit_observed_at", Time),
    Column("housekeeping_started_at", Time),  # when it was last begun, by whichever worker
    CheckConstraint("id = 1", name="one_row"),
)

subjects = Table(
    "subjects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("external_task_id", Id),
    Column("fingerprint", Text, nullable=False),
    Column("document", JSONB, nullable=False),  # what was asked for; media by hash
    Column("tags", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),  # the sequence of its last event
    Column("provider_task_id", Id, unique=True),
    Column("provider_updated_at", Time),
    Column("result", JSONB(none_as_null=True)),
    Column("error", JSONB(none_as_null=True)),
    Column("lease_token", Id),
    Column("lease_until", Time),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("claimed_at", Time),
    Column("available_at", Time, nullable=False),
    Column("poll_count", Integer, nullable=False, server_default="0"),
    Column("next_poll_at", Time),
    Column("deadline", Time, nullable=False),
    Column("callback_subscriber_id", Id),  # the subscriber that stands for its callback_url
    # When media given by URL are to be looked at, or until when the holder of the token does; null:
    # there is nothing to look at, or it was found good.
    Column("media_check_at", Time),
    Column("media_lease_token", Id),
    Column("media_check_attempts", SmallInteger, nullable=False, server_default="0"),
    Column("warnings", JSONB(none_as_null=True)),  # what breaks no rule; null: nothing
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("finished_at", Time),
    UniqueConstraint("account_id", "external_task_id"),
    CheckConstraint(f"state IN ({one_of(frozenset(RANK))})", name="state"),
    CheckConstraint(
        f"(state IN ({one_of(TERMINAL)})) = (finished_at IS NOT NULL)", name="finished"
    ),
    CheckConstraint(
        "(state = 'submitting') = (lease_token IS NOT NULL)"
        " AND (lease_token IS NULL) = (lease_until IS NULL)",
        name="lease",
    ),
    CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="result"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("version >= 1 AND attempts >= 0 AND poll_count >= 0", name="counts"),
    CheckConstraint(
        "(next_poll_at IS NOT NULL) = (state IN ('unconfirmed', 'submitted', 'processing'))",
        name="poll",
    ),
    CheckConstraint("media_lease_token IS NULL OR media_check_at IS NOT NULL", name="media"),
    Index(
        "ix_subjects_queued",
        "account_id",
        "available_at",
        "id",
        postgresql_where=text("state = 'queued'"),
    ),
    Index(  # of the queue, what may be submitted
        "ix_subjects_ready",
        "account_id",
        "available_at",
        "id",
        postgresql_where=text("state = 'queued' AND media_check_at IS NULL"),
    ),
    Index(  # and what has media to be looked at first
        "ix_subjects_media_check",
        "account_id",
        "media_check_at",
        "id",
        postgresql_where=text("state = 'queued' AND media_check_at IS NOT NULL"),
    ),
    Index(
        "ix_subjects_with_provider",
        "lease_until",
        postgresql_where=text(f"state IN ({one_of(WITH_PROVIDER)})"),
    ),
    Index("ix_subjects_poll", "next_poll_at", postgresql_where=text("next_poll_at IS NOT NULL")),
    Index("ix_subjects_deadline", "deadline", postgresql_where=text("finished_at IS NULL")),
    Index("ix_subjects_list", "account_id", "created_at", "id"),
    # Of every account. Its condition holds of every external id, and only what seeks them all says
    # so: an account's would be sought among all that are the same.
    Index(
        "ix_subjects_external_task_id",
        "external_task_id",
        "id",
        postgresql_where=text("external_task_id > ''"),
    ),
    Index("ix_subjects_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
)

media = Table(
    "media",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the bytes, in hex
    Column("bytes", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
)

subject_media = Table(  # which unfinished subject needs which media; gone when it ends
    "subject_media",
    metadata,
    Column("subject_id", Id, ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, ForeignKey("media.hash"), primary_key=True),
    Index("ix_subject_media_hash", "hash"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("key", Id, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("subject_id", Id, ForeignKey("subjects.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Time, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("subject_id", Id),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text),
    Column("seen", Integer, nullable=False, server_default="1"),
    Column("received_at", Time, nullable=False),
    # What vouches for it: a signature over its bytes, an address only the provider knows, nothing.
    Column("trust", Text),
    Column("task_id", Id),  # what it says: of which task, which word, and the provider's time
    Column("status", Text),
    Column("provider_updated_at", Time),
    Column("token", Id),  # of its address, kept with what was rejected
    Column("size", Integer),  # bytes of the body
    UniqueConstraint("source", "dedup_key"),
    CheckConstraint(
        "verdict IN ('applied', 'repeated', 'late', 'anomaly', 'unknown', 'mismatch', 'parked',"
        " 'hint', 'rejected')",
        name="verdict",
    ),
    Index("ix_callbacks_subject", "subject_id", postgresql_where=text("subject_id IS NOT NULL")),
    CheckConstraint("trust IN ('signed', 'address', 'none')", name="trust"),
    Index("ix_callbacks_received_at", "received_at"),
    Index("ix_callbacks_unknown", "task_id", postgresql_where=text("verdict = 'unknown'")),
    Index("ix_callbacks_verdict", "verdict", "id", postgresql_where=text("verdict <> 'applied'")),
    Index(  # what anybody can make us keep, and is bounded for it
        "ix_callbacks_doubtful",
        "trust",
        "id",
        postgresql_include=["size"],
        postgresql_where=text("verdict = 'rejected' OR trust = 'none'"),
    ),
)

webhook_secrets = Table(  # beside those of the settings; the version is in provider_state
    "webhook_secrets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # to know it by, without showing it
    Column("secret", LargeBinary, nullable=False),  # sealed: steps/vault.py
    Column("created_at", Time, nullable=False),
    UniqueConstraint("source", "fingerprint"),
)
