"""Every table, in the order of the flow: accounts, subjects, callbacks, events, deliveries.

Revision ID: 0001
Revises:

What each column means is in service/schema; a test compares the two.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text(collation="C")  # sorts by age, compared byte by byte
TIME = sa.DateTime(timezone=True)


class TransactionId(UserDefinedType[int]):
    """Postgres' xid8."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text(), unique=True, nullable=False),
        sa.Column("last_claimed_at", TIME),
        sa.Column("callback_url_secret", sa.LargeBinary()),
        sa.Column("rate_used_until", TIME),
        sa.Column("pruned_xid", TransactionId()),
        sa.Column("pruned_position", sa.BigInteger()),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("hash", sa.LargeBinary(), unique=True, nullable=False),
        sa.Column("secret", sa.LargeBinary()),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("last_used_at", TIME),
    )
    op.create_table(
        "provider_state",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("stopped_code", sa.Integer()),
        sa.Column("stopped_message", sa.Text()),
        sa.Column("next_probe_at", TIME),
        sa.Column("observed_parallel_limit", sa.Integer()),
        sa.Column("parallel_limit_observed_at", TIME),
        sa.Column("secrets_version", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("typical_durations", postgresql.JSONB()),
        sa.Column("poll_rate_used_until", TIME),
        sa.Column("unreadable_answers", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("unreadable_since", TIME),
        sa.Column("last_unreadable_at", TIME),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "subjects",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("external_task_id", ID),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("provider_task_id", ID),
        sa.Column("provider_updated_at", TIME),
        sa.Column("result", postgresql.JSONB()),
        sa.Column("error", postgresql.JSONB()),
        sa.Column("lease_token", ID),
        sa.Column("lease_until", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("claimed_at", TIME),
        sa.Column("available_at", TIME, nullable=False),
        sa.Column("poll_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_poll_at", TIME),
        sa.Column("deadline", TIME, nullable=False),
        sa.Column("callback_subscriber_id", ID),
        sa.Column("media_check_at", TIME),
        sa.Column("media_lease_token", ID),
        sa.Column("media_check_attempts", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("warnings", postgresql.JSONB()),
        sa.Column("traceparent", sa.Text()),
        sa.Column("signals", postgresql.JSONB()),
        sa.Column("units", sa.Numeric()),
        sa.Column("creates_saved", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("erased_at", TIME),
        sa.Column("erasure_requested_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.CheckConstraint(
            "state IN ('canceled', 'failed', 'processing', 'queued', 'submitted', 'submitting', 'succeeded', 'unconfirmed')",
            name="state",
        ),
        sa.CheckConstraint(
            "(state IN ('canceled', 'failed', 'succeeded')) = (finished_at IS NOT NULL)",
            name="finished",
        ),
        sa.CheckConstraint(
            "(state = 'submitting') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_until IS NULL)",
            name="lease",
        ),
        sa.CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="result"),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
        sa.CheckConstraint("version >= 1 AND attempts >= 0 AND poll_count >= 0", name="counts"),
        sa.CheckConstraint(
            "(next_poll_at IS NOT NULL) = (state IN ('processing', 'submitted', 'unconfirmed'))",
            name="poll",
        ),
        sa.CheckConstraint("media_lease_token IS NULL OR media_check_at IS NOT NULL", name="media"),
        sa.CheckConstraint("erased_at IS NULL OR finished_at IS NOT NULL", name="erased"),
    )
    op.create_index(
        "ix_subjects_external_task_id",
        "subjects",
        ["external_task_id", "id"],
        postgresql_where=sa.text("external_task_id > ''"),
    )
    op.create_index(
        "ix_subjects_finished",
        "subjects",
        ["state", "finished_at", "id"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index("ix_subjects_list", "subjects", ["account_id", "created_at", "id"])
    op.create_index(
        "ix_subjects_media_check",
        "subjects",
        ["account_id", "media_check_at", "id"],
        postgresql_where=sa.text("state = 'queued' AND media_check_at IS NOT NULL"),
    )
    op.create_index(
        "ix_subjects_poll",
        "subjects",
        ["next_poll_at"],
        postgresql_where=sa.text("next_poll_at IS NOT NULL"),
    )
    op.create_index(
        "ix_subjects_queued",
        "subjects",
        ["account_id", "available_at", "id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_subjects_ready",
        "subjects",
        ["account_id", "available_at", "id"],
        postgresql_where=sa.text("state = 'queued' AND media_check_at IS NULL"),
    )
    for name, media in (("unfinished", "IS NULL"), ("unfinished_media", "IS NOT NULL")):
        op.create_index(
            f"ix_subjects_{name}",
            "subjects",
            ["state", "deadline"],
            postgresql_include=["created_at", "updated_at", "claimed_at"],
            postgresql_where=sa.text(f"finished_at IS NULL AND media_check_at {media}"),
        )
    op.create_index(
        "ix_subjects_with_provider",
        "subjects",
        ["lease_until"],
        postgresql_where=sa.text(
            "state IN ('processing', 'submitted', 'submitting', 'unconfirmed')"
        ),
    )
    op.create_index(
        "uq_subjects_account_id_external_task_id",
        "subjects",
        ["account_id", "external_task_id"],
        unique=True,
        postgresql_where=sa.text("external_task_id IS NOT NULL"),
    )
    op.create_index(
        "uq_subjects_provider_task_id",
        "subjects",
        ["provider_task_id"],
        unique=True,
        postgresql_where=sa.text("provider_task_id IS NOT NULL"),
    )
    op.create_table(
        "media",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "subject_media",
        sa.Column(
            "subject_id", ID, sa.ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("hash", sa.Text(), sa.ForeignKey("media.hash"), primary_key=True),
    )
    op.create_index("ix_subject_media_hash", "subject_media", ["hash"])
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("key", ID, primary_key=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "callbacks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dedup_key", sa.Text(), nullable=False),
        sa.Column("subject_id", ID),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("times_received", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("verification", sa.Text(), nullable=False),
        sa.Column("task_id", ID),
        sa.Column("status", sa.Text()),
        sa.Column("provider_updated_at", TIME),
        sa.Column("token", ID),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("erased_sha256", sa.LargeBinary()),
        sa.UniqueConstraint("source", "dedup_key"),
        sa.CheckConstraint(
            "verdict IN ('anomaly', 'applied', 'hint', 'late', 'mismatch', 'parked', 'rejected', 'repeated', 'unknown')",
            name="verdict",
        ),
        sa.CheckConstraint("verification IN ('address', 'none', 'signed')", name="verification"),
    )
    op.create_index(
        "ix_callbacks_untrusted",
        "callbacks",
        ["verification", "id"],
        postgresql_include=["size"],
        postgresql_where=sa.text("verdict = 'rejected' OR verification = 'none'"),
    )
    op.create_index(
        "ix_callbacks_subject",
        "callbacks",
        ["subject_id"],
        postgresql_where=sa.text("subject_id IS NOT NULL"),
    )
    op.create_index(
        "ix_callbacks_task",
        "callbacks",
        ["task_id"],
        postgresql_where=sa.text("verdict IN ('unknown', 'mismatch')"),
    )
    op.create_index(
        "ix_callbacks_verdict",
        "callbacks",
        ["verdict", "id"],
        postgresql_where=sa.text("verdict <> 'applied'"),
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("id", ID, primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("source", "fingerprint"),
    )
    op.create_table(
        "events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject_id", ID),
        sa.Column("about_subscriber_id", ID),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column(
            "xid", TransactionId(), nullable=False, server_default=sa.text("pg_current_xact_id()")
        ),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("subject_id", "sequence"),
        sa.CheckConstraint("sequence >= 1", name="sequence"),
        sa.CheckConstraint("num_nonnulls(subject_id, about_subscriber_id) = 1", name="about"),
    )
    op.create_index(
        "ix_events_all",
        "events",
        ["xid", "position"],
        postgresql_where=sa.text("position > 0 AND body IS NOT NULL"),
    )
    op.create_index(
        "ix_events_about_subscribers",
        "events",
        ["created_at", "id"],
        postgresql_where=sa.text("subject_id IS NULL"),
    )
    op.create_index(
        "ix_events_feed",
        "events",
        ["account_id", "xid", "position"],
        postgresql_where=sa.text("body IS NOT NULL"),
    )
    op.create_table(
        "subscribers",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, server_default="webhook"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text()),
        sa.Column("credentials", sa.LargeBinary()),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("event_types", postgresql.ARRAY(sa.Text())),
        sa.Column("reference_types", postgresql.ARRAY(sa.Text())),
        sa.Column("tags", postgresql.ARRAY(sa.Text())),
        sa.Column("headers", sa.LargeBinary()),
        sa.Column("timeout", sa.Float()),
        sa.Column("schedule", postgresql.ARRAY(sa.Float())),
        sa.Column("ordering", sa.Text(), nullable=False, server_default="per_subject"),
        sa.Column("format", sa.Text(), nullable=False, server_default="standard"),
        sa.Column("signatures", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{v1}"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", TIME),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.LargeBinary()),
        sa.Column("public_key", sa.LargeBinary()),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("audited_from_xid", TransactionId()),
        sa.Column("audited_until_xid", TransactionId()),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('active', 'disabled', 'paused')", name="state"),
        sa.CheckConstraint("type IN ('callback', 'nats', 'redis_stream', 'webhook')", name="type"),
        sa.CheckConstraint("ordering IN ('none', 'per_subject')", name="ordering"),
        sa.CheckConstraint("format IN ('cloudevents', 'standard')", name="format"),
    )
    op.create_index("ix_subscribers_account", "subscribers", ["account_id"])
    op.create_index(
        "ix_subscribers_callback",
        "subscribers",
        ["account_id", "url"],
        unique=True,
        postgresql_where=sa.text("type = 'callback'"),
    )
    op.create_index(
        "ix_subscribers_fan_out",
        "subscribers",
        ["account_id"],
        postgresql_where=sa.text("type <> 'callback'"),
    )
    op.create_index(
        "ix_subscribers_made",
        "subscribers",
        ["id"],
        postgresql_include=["state"],
        postgresql_where=sa.text("type IN ('webhook', 'nats', 'redis_stream')"),
    )
    op.create_index(
        "ix_subscribers_public",
        "subscribers",
        ["id"],
        postgresql_where=sa.text("public_key IS NOT NULL"),
    )
    op.create_table(
        "previous_signing_keys",
        sa.Column("id", ID, primary_key=True),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.LargeBinary()),
        sa.Column("public_key", sa.LargeBinary()),
        sa.Column("expires_at", TIME, nullable=False),
    )
    op.create_index("ix_previous_signing_keys_owner", "previous_signing_keys", ["owner_id"])
    op.create_table(
        "subscriber_health",
        sa.Column(
            "subscriber_id",
            ID,
            sa.ForeignKey("subscribers.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("max_rate", sa.Float()),
        sa.Column("current_rate", sa.Float()),
        sa.Column("rate_changed_at", TIME),
        sa.Column("rate_limited_until", TIME),
        sa.Column("last_claim_xid", TransactionId()),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failing_since", TIME),
        sa.Column("circuit_open_until", TIME),
        sa.Column("failed_probes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("status", sa.Text()),
        sa.Column("status_since", TIME),
        sa.Column("reason", sa.Text()),
        sa.Column("notified_status", sa.Text()),
        sa.Column("sequence", sa.Integer(), nullable=False, server_default="0"),
        sa.CheckConstraint("(failures > 0) = (failing_since IS NOT NULL)", name="failing"),
        sa.CheckConstraint("status IN ('disabled', 'failing', 'recovered')", name="status"),
    )
    op.create_index(
        "ix_subscriber_health_unnotified",
        "subscriber_health",
        ["subscriber_id"],
        postgresql_where=sa.text("status IS NOT NULL AND status IS DISTINCT FROM notified_status"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("subscriber_id", ID, nullable=False),
        sa.Column("ordering_key", ID, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("lease_token", ID),
        sa.Column("followers", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("replayed_at", TIME),
        sa.Column("attempts_at_replay", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.CheckConstraint("state IN ('canceled', 'dead', 'delivered', 'pending')", name="state"),
        sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
        sa.CheckConstraint(
            "state = 'pending' OR (due_at IS NULL AND lease_token IS NULL)", name="ended"
        ),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["subscriber_id", "due_at"],
        postgresql_where=sa.text("state = 'pending' AND due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["subscriber_id"],
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_order",
        "deliveries",
        ["subscriber_id", "ordering_key", "sequence"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_retrying",
        "deliveries",
        ["created_at"],
        postgresql_include=["replayed_at"],
        postgresql_where=sa.text("state = 'pending' AND attempts > attempts_at_replay"),
    )
    op.create_index("ix_deliveries_subscriber", "deliveries", ["subscriber_id", "created_at"])
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["subscriber_id", "created_at", "id"],
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_table(
        "attempts",
        sa.Column(
            "delivery_id", ID, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("response_body", sa.LargeBinary(), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=False),
    )
    op.create_index(
        "ix_attempts_answered",
        "attempts",
        ["started_at"],
        postgresql_where=sa.text("response_body <> ''"),
    )
    op.execute("INSERT INTO provider_state (id) VALUES (1)")
