"""Which subjects of a restored database the provider is to be asked about, before anything else."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.lifecycle import RANK, TERMINAL, State

NOT_ASKED = [State.QUEUED, State.SUBMITTING]  # nobody asks about a subject in these states


def _earliest(condition: str) -> str:
    """The SQL that finds unfinished subjects of :states, the earliest deadline first, one state
    after the other by the two indexes that there are of them."""
    found = f"""
        SELECT id, deadline FROM subjects
        WHERE finished_at IS NULL AND media_check_at {{is_null}}
        AND state = unfinished.state AND {condition}
        ORDER BY deadline LIMIT :limit
    """  # noqa: S608 - only our own words are put in
    return f"""
        SELECT q.id FROM unnest(CAST(:states AS text[])) AS unfinished (state) CROSS JOIN LATERAL (
            ({found.format(is_null="IS NULL")})
            UNION ALL
            ({found.format(is_null="IS NOT NULL")})
        ) q
        ORDER BY q.deadline LIMIT :limit
    """  # noqa: S608 - likewise


_UNFINISHED = text(_earliest("true"))
_FORGET_CLAIM = text(f"""
    UPDATE subjects SET
        claimed_at = NULL,
        media_check_at = CASE WHEN media_lease_token IS NULL THEN media_check_at ELSE :now END,
        media_lease_token = NULL
    WHERE id = ANY (CAST(:ids AS text[])) AND state = '{State.UNCONFIRMED}'
""")  # noqa: S608 - likewise
_ASK_AT = text("""
    UPDATE subjects SET next_poll_at = :at, poll_count = 0 WHERE id IN (
        SELECT id FROM subjects WHERE next_poll_at > :at
        ORDER BY next_poll_at LIMIT :limit FOR NO KEY UPDATE
    )
    RETURNING id
""")
_COUNT_ASKED = text("SELECT count(*) FROM subjects WHERE next_poll_at <= :at")
_PUT_OFF = text(f"""
    WITH soon AS ({_earliest("deadline < :until")})
    UPDATE subjects SET deadline = :until
    WHERE id IN (SELECT id FROM soon) AND finished_at IS NULL AND deadline < :until
    RETURNING id
""")  # noqa: S608 - likewise


async def unfinished(tx: Connection, states: Sequence[State], limit: int) -> list[str]:
    """Ids of at most `limit` subjects in these states, none of which is terminal, the earliest
    deadline first."""
    return [row[0] for row in await tx.execute(_UNFINISHED, {"states": states, "limit": limit})]


async def not_asked_about(tx: Connection, limit: int) -> list[str]:
    """Ids of at most `limit` subjects that nobody asks the provider about, the earliest deadline
    first: queued ones, and those that a worker was sending."""
    return await unfinished(tx, NOT_ASKED, limit)


async def forget_claims(tx: Connection, subject_ids: Sequence[str], now: datetime) -> None:
    """Forget when these unconfirmed subjects were claimed, for none of them is known to have a
    place at the provider, and take the checks of their media from the workers that have them: what
    such a check found is not to end a subject that the provider may have."""
    await tx.execute(_FORGET_CLAIM, {"ids": subject_ids, "now": now})


async def ask_at(tx: Connection, at: datetime, limit: int) -> int:
    """Let the provider be asked at `at` about at most `limit` subjects whose look-up is due later;
    how many these were."""
    return len(await tx.execute(_ASK_AT, {"at": at, "limit": limit}))


async def count_asked_about(tx: Connection, at: datetime) -> int:
    """How many subjects the provider is to be asked about at `at`."""
    count: int = await tx.scalar(_COUNT_ASKED, {"at": at})
    return count


async def put_off_deadlines(tx: Connection, until: datetime, limit: int) -> int:
    """Put the deadlines of at most `limit` unfinished subjects off to `until`, where they are
    earlier; how many these were."""
    values = {"states": sorted(RANK.keys() - TERMINAL), "until": until, "limit": limit}
    return len(await tx.execute(_PUT_OFF, values))
