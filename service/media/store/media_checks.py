"""Looks at media that were given by URL: claimed under a lease, recorded under its token."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows
from service.kit.errors import FieldError


@dataclass(frozen=True, slots=True)
class DueMediaCheck:
    """A queued subject under our token, as far as its media are concerned; `tries` says how often
    these were out of reach."""

    id: str
    account_id: str
    document: Mapping[str, Any]
    tries: int


@dataclass(frozen=True, slots=True)
class MediaClaimLimits:
    """`under_way` is how many subjects of each account the claimant holds already, `rooms` how many
    more of these accounts it has room for; of others it has room for `limit`."""

    token: str
    limit: int
    under_way: Mapping[str, int]
    rooms: Mapping[str, int]


# As in subjects.py, accounts are found by skipping from one to the next in the index. Each ORDER BY
# is the index's own, and times are compared after it, so that no plan, made when few or many were
# waiting, reads more of the queue than it takes; IS TRUE keeps that index out where ids are known.
# Whose turn it is among equals is drawn anew for each claim: nobody waits behind another's backlog,
# and nothing has to be kept about it.
_CLAIM = text("""
    WITH RECURSIVE waiting AS (
        (
            SELECT account_id FROM subjects
            WHERE state = 'queued' AND media_check_at IS NOT NULL
            ORDER BY account_id, media_check_at, id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT s.account_id FROM subjects s
            WHERE s.state = 'queued' AND s.media_check_at IS NOT NULL
            AND s.account_id > w.account_id
            ORDER BY s.account_id, s.media_check_at, s.id LIMIT 1
        )
        FROM waiting w WHERE w.account_id IS NOT NULL
    ), candidates AS (
        SELECT s.id, w.account_id, coalesce(b.under_way, 0) AS before, b.room, row_number() OVER (
            PARTITION BY w.account_id ORDER BY s.media_check_at, s.id
        ) AS turn
        FROM waiting w
        LEFT JOIN unnest(
            CAST(:accounts AS text[]), CAST(:under_way AS int[]), CAST(:rooms AS int[])
        ) AS b (account_id, under_way, room) ON b.account_id = w.account_id
        CROSS JOIN LATERAL (
            SELECT q.id, q.media_check_at FROM subjects q
            WHERE q.state = 'queued' AND q.media_check_at IS NOT NULL
            AND q.account_id = w.account_id
            ORDER BY q.media_check_at, q.id LIMIT :limit
        ) s
        WHERE s.media_check_at <= :now
    ), locked AS (
        SELECT id FROM subjects
        WHERE (state = 'queued' AND media_check_at <= :now) IS TRUE AND id IN (
            SELECT id FROM candidates WHERE turn <= coalesce(room, :limit)
            ORDER BY before + turn, hashtextextended(account_id || :token, 0), id LIMIT :limit
        )
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subjects SET media_lease_token = :token, media_check_at = :until
    WHERE id IN (SELECT id FROM locked)
    RETURNING id, account_id, document, media_check_attempts
""")
_HOLDS_LEASE = text("""
    SELECT 1 FROM subjects
    WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
""")
_COMPLETE = text("""
    UPDATE subjects SET media_check_at = NULL, media_lease_token = NULL, warnings = nullif(
        coalesce(warnings, '[]') || CAST(CAST(:warnings AS text) AS jsonb), '[]'
    )
    WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
    RETURNING id
""")
_RELEASE = text("""
    UPDATE subjects SET media_check_at = :at, media_lease_token = NULL,
        media_check_attempts = media_check_attempts + :tries
    WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
    RETURNING id
""")


async def claim(
    tx: Connection, terms: MediaClaimLimits, *, now: datetime, until: datetime
) -> list[DueMediaCheck]:
    """Queued subjects whose media are due to be looked at, under the token until then; accounts
    take turns, each in order of age."""
    values = {
        "accounts": list(terms.under_way),
        "under_way": list(terms.under_way.values()),
        "rooms": [terms.rooms[one] for one in terms.under_way],
        "token": terms.token,
        "limit": terms.limit,
        "now": now,
        "until": until,
    }
    return [DueMediaCheck(*row) for row in await tx.execute(_CLAIM, values)]


async def holds_lease(tx: Connection, subject_id: str, token: str) -> bool:
    """Whether it is still looked at under this token: nobody else has it, and it is queued. That
    stays so for a caller that has the subject's lock."""
    return await tx.first(_HOLDS_LEASE, {"id": subject_id, "token": token}) is not None


async def complete(
    tx: Connection, subject_id: str, token: str, warnings: Sequence[FieldError] = ()
) -> bool:
    """Its media are good: it may be submitted, with these warnings beside those that it has.
    Whether it was still looked at under this token; if not, nothing is written."""
    values = {
        "id": subject_id,
        "token": token,
        "warnings": encode_rows([asdict(warning) for warning in warnings]),
    }
    return await tx.first(_COMPLETE, values) is not None


async def release(
    tx: Connection, subject_id: str, token: str, at: datetime, *, tried: bool
) -> bool:
    """Let go of it, to be looked at from `at` on; `tried` says whether this look counts as a try.
    Whether it was still looked at under this token; if not, nothing is written."""
    values = {"id": subject_id, "token": token, "at": at, "tries": int(tried)}
    return await tx.first(_RELEASE, values) is not None
