"""SQL of a story: what is kept of one subject, without its contents wherever SQL can leave them
out, and bounded."""

from typing import Final

from sqlalchemy import text

from service.kit.database.connection import Connection, Row

MAX_CALLBACKS: Final = 200  # the oldest; a subject has three, and as many again for each disorder
MAX_EVENTS: Final = 50
MAX_DELIVERIES: Final = 500  # the oldest
MAX_ATTEMPTS: Final = 20  # of each delivery, the newest
KIND_BYTES: Final = 16  # of an answer, by which its kind is told

_SUBJECT = text("""
    SELECT id, external_task_id IS NOT NULL AS has_external_task_id, document, state, version,
        provider_task_id, provider_updated_at, error, attempts, claimed_at, poll_count,
        next_poll_at, deadline, signals, units, creates_saved, erased_at, created_at, updated_at,
        finished_at, media_check_attempts
    FROM subjects WHERE id = :id AND account_id = :account_id
""")
# Their ids first, or Postgres would walk through all callbacks in the order of their ids, in the
# hope of meeting enough of one subject's.
_CALLBACKS = text("""
    SELECT id, source, verification, verdict, reason, times_received, received_at, status,
        provider_updated_at, size, headers,
        encode(coalesce(erased_sha256, sha256(body)), 'hex') AS sha256
    FROM callbacks WHERE id = ANY (ARRAY(SELECT id FROM callbacks WHERE subject_id = :id))
    ORDER BY id LIMIT :limit
""")
_EVENTS = text("""
    SELECT id, type, sequence, created_at, octet_length(body) AS size,
        encode(sha256(body), 'hex') AS sha256
    FROM events WHERE subject_id = :id ORDER BY sequence LIMIT :limit
""")
# Their ids begin with the subject's: see delivery/store/delivery_log.py.
_DELIVERIES = text("""
    SELECT id, event_id, subscriber_id, state, attempts, created_at, finished_at
    FROM deliveries
    WHERE id > 'dlv_' || substr(CAST(:id AS text), 5) || '_'
    AND id < 'dlv_' || substr(CAST(:id AS text), 5) || '`'
    ORDER BY id LIMIT :limit
""")
_ATTEMPTS = text("""
    SELECT a.* FROM unnest(CAST(:ids AS text[])) d (id) CROSS JOIN LATERAL (
        SELECT delivery_id, number, started_at, status, latency_ms, delivered,
            split_part(error, ':', 1) AS error, octet_length(response_body) AS size,
            encode(sha256(response_body), 'hex') AS sha256,
            substr(response_body, 1, :kind_bytes) AS head
        FROM attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT :most
    ) a
    ORDER BY delivery_id, number
""")


async def subject(tx: Connection, account_id: str, subject_id: str) -> Row | None:
    """The row of a subject; None if this account has no such subject."""
    return await tx.first(_SUBJECT, {"id": subject_id, "account_id": account_id})


async def callbacks(tx: Connection, subject_id: str) -> list[Row]:
    """What is stored of its callbacks, the oldest first: MAX_CALLBACKS, and one more if there are
    more."""
    values = {"id": subject_id, "limit": MAX_CALLBACKS + 1}
    return list(await tx.execute(_CALLBACKS, values))


async def events(tx: Connection, subject_id: str) -> list[Row]:
    """Its events in their sequence: MAX_EVENTS at most."""
    return list(await tx.execute(_EVENTS, {"id": subject_id, "limit": MAX_EVENTS}))


async def deliveries(tx: Connection, subject_id: str) -> list[Row]:
    """The deliveries of its events: MAX_DELIVERIES, and one more if there are more."""
    return list(await tx.execute(_DELIVERIES, {"id": subject_id, "limit": MAX_DELIVERIES + 1}))


async def attempts(tx: Connection, delivery_ids: list[str]) -> list[Row]:
    """The newest attempts at each of these deliveries, in their order; of its error the kind."""
    values = {"ids": delivery_ids, "most": MAX_ATTEMPTS, "kind_bytes": KIND_BYTES}
    return list(await tx.execute(_ATTEMPTS, values))
