"""Checks of media given by URL: claimed under a lease, recorded under its token.

A check is due at `media_check_at` of a queued subject; of one that is claimed, that is its lease's
end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows
from service.kit.errors import FieldError
from service.subjects.domain.signal_record import SignalRecord
from service.subjects.domain.work import Work
from service.subjects.store.signals import APPENDED, signal_value
from service.subjects.store.work import notify_sql


@dataclass(frozen=True, slots=True)
class DueMediaCheck:
    """A queued subject whose media are due to be checked."""

    id: str  # the subject's
    account_id: str  # whose subject it is
    document: Mapping[str, Any]  # the request
    attempts: int  # checks so far that found media out of reach
    lease_expired: bool  # whether a worker had claimed it before, and its lease ran out


@dataclass(frozen=True, slots=True)
class MediaClaimLimits:
    """How many checks may be claimed at once."""

    max_claims: int  # in all, and of any account without a capacity of its own
    under_way: Mapping[str, int]  # checks of each account that the claimant holds already
    capacities: Mapping[str, int]  # how many more of each of these accounts it may claim


# Accounts are found by skipping from one to the next in the index. Each ORDER BY is the index's
# own, and times are compared after it, so that no plan, made when few or many were waiting, reads
# more of the queue than it takes; IS TRUE keeps that index out where ids are known.
_CLAIM = text(f"""
    WITH RECURSIVE
    -- 1 the accounts that have checks waiting
    waiting AS (
        (
            SELECT account_id FROM subjects
            WHERE state = 'queued' AND media_check_at IS NOT NULL AND {AT_HOME}
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
    ),
    -- 2 the oldest due checks of each account, with their places in its order
    candidates AS (
        SELECT s.id, w.account_id, coalesce(c.under_way, 0) AS under_way, c.capacity,
            row_number() OVER (
                PARTITION BY w.account_id ORDER BY s.media_check_at, s.id
            ) AS position
        FROM waiting w
        LEFT JOIN unnest(
            CAST(:accounts AS text[]), CAST(:under_way AS int[]), CAST(:capacities AS int[])
        ) AS c (account_id, under_way, capacity) ON c.account_id = w.account_id
        CROSS JOIN LATERAL (
            SELECT q.id, q.media_check_at FROM subjects q
            WHERE q.state = 'queued' AND q.media_check_at IS NOT NULL
            AND q.account_id = w.account_id
            ORDER BY q.media_check_at, q.id LIMIT :max_claims
        ) s
        WHERE s.media_check_at <= :now
    ),
    -- 3 those to claim, from accounts in turns. Whose turn it is among equals is drawn anew by the
    -- token's hash: nobody waits behind another's backlog, and nothing has to be kept about it
    locked AS (
        SELECT id, media_lease_token FROM subjects
        WHERE (state = 'queued' AND media_check_at <= :now) IS TRUE AND id IN (
            SELECT id FROM candidates WHERE position <= coalesce(capacity, :max_claims)
            ORDER BY under_way + position, hashtextextended(account_id || :token, 0), id
            LIMIT :max_claims
        )
        FOR NO KEY UPDATE SKIP LOCKED
    )
    -- 4 the claim; and which of these a worker had claimed whose lease ran out
    UPDATE subjects SET media_lease_token = :token, media_check_at = :until
    WHERE id IN (SELECT id FROM locked)
    RETURNING id, account_id, document, media_check_attempts,
        id = ANY (ARRAY(SELECT id FROM locked WHERE media_lease_token IS NOT NULL))
""")  # noqa: S608 - only our own words are put in
_HOLDS_LEASE = text("""
    SELECT 1 FROM subjects
    WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
""")
_COMPLETE = text(f"""
    WITH completed AS (
        UPDATE subjects SET media_check_at = NULL, media_lease_token = NULL, warnings = nullif(
            coalesce(warnings, '[]') || CAST(CAST(:warnings AS text) AS jsonb), '[]'
        ), signals = {APPENDED}
        WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
        RETURNING id
    )
    SELECT {notify_sql(Work.SUBMIT)} FROM completed
""")  # noqa: S608 - only our own names are put in
_RELEASE = text(f"""
    UPDATE subjects SET media_check_at = :due_at, media_lease_token = NULL,
        media_check_attempts = media_check_attempts + CAST(:counts AS int), signals = {APPENDED}
    WHERE id = :id AND (state = 'queued' AND media_lease_token = :token) IS TRUE
    RETURNING id
""")  # noqa: S608 - likewise


async def claim(  # noqa: PLR0913 - one claim's worth
    tx: Connection,
    fence: Fence,
    limits: MediaClaimLimits,
    *,
    token: str,
    now: datetime,
    until: datetime,
) -> list[DueMediaCheck]:
    """Claim checks that are due, under a lease `until` then; accounts take turns, each in order of
    age. None outside the fence."""
    values = {
        "accounts": list(limits.under_way),
        "under_way": list(limits.under_way.values()),
        "capacities": [limits.capacities[account] for account in limits.under_way],
        "token": token,
        "max_claims": limits.max_claims,
        "now": now,
        "until": until,
        **fence.values(),
    }
    return [DueMediaCheck(*row) for row in await tx.execute(_CLAIM, values)]


async def holds_lease(tx: Connection, subject_id: str, token: str) -> bool:
    """Whether a queued subject's check is claimed under this token. That stays so for a caller that
    has locked the subject."""
    return await tx.first(_HOLDS_LEASE, {"id": subject_id, "token": token}) is not None


async def complete(
    tx: Connection,
    subject_id: str,
    token: str,
    warnings: Sequence[FieldError] = (),
    record: SignalRecord | None = None,
) -> bool:
    """Let a subject with good media be submitted, notify workers of that, add to its warnings, and
    keep the check's record with it.

    False: its check is not claimed under this token, nothing is written.
    """
    values = {
        "id": subject_id,
        "token": token,
        "warnings": encode_rows([asdict(warning) for warning in warnings]),
        "signal": signal_value(record),
    }
    return await tx.first(_COMPLETE, values) is not None


async def release(  # noqa: PLR0913 - what a check is, and what is written of it
    tx: Connection,
    subject_id: str,
    token: str,
    due_at: datetime,
    *,
    counts: bool,
    record: SignalRecord | None = None,
) -> bool:
    """Give a claimed check back, due at `due_at`; `counts` says whether it was an attempt. Its
    record is kept with the subject.

    False: it is not claimed under this token, nothing is written.
    """
    values = {
        "id": subject_id,
        "token": token,
        "due_at": due_at,
        "counts": int(counts),
        "signal": signal_value(record),
    }
    return await tx.first(_RELEASE, values) is not None
