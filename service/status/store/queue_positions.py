"""Positions in the queue: 1 and how many of the account's queued subjects are before one."""

from collections.abc import Sequence

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.subject import SubjectView

# For many subjects of one account no row is counted twice: each count begins at the subject asked
# for that is next before, and the counts are added up. A count reads ix_subjects_queued, and no
# more than :most of it.
_POSITIONS = text("""
    -- 1 the subjects asked for, in the order of their queues, each with the one before it
    WITH asked AS (
        SELECT account_id, at, id,
            lag(at, 1, '-infinity') OVER queue AS from_at, lag(id, 1, '') OVER queue AS from_id
        FROM (
            SELECT account_id, at, id COLLATE "C" AS id FROM unnest(
                CAST(:accounts AS text[]), CAST(:times AS timestamptz[]), CAST(:ids AS text[])
            ) AS given (account_id, at, id)
        ) AS given
        WINDOW queue AS (PARTITION BY account_id ORDER BY at, id)
    ),
    -- 2 how many queued subjects there are from the one to the other
    counted AS (
        SELECT asked.*, (
            SELECT count(*) FROM (
                SELECT 1 FROM subjects s
                WHERE s.state = 'queued' AND s.account_id = asked.account_id
                AND (s.available_at, s.id) >= (asked.from_at, asked.from_id)
                AND (s.available_at, s.id) < (asked.at, asked.id)
                LIMIT :most
            ) AS between_them
        ) AS between_them
        FROM asked
    )
    -- 3 added up, each is how many are before it
    SELECT id, least(:most, 1 + CAST(
        sum(between_them) OVER (PARTITION BY account_id ORDER BY at, id) AS int
    ))
    FROM counted
""")


async def positions(tx: Connection, queued: Sequence[SubjectView], most: int) -> dict[str, int]:
    """The position of each queued subject by its id, from 1 to `most`."""
    subjects = {subject.id: subject for subject in queued}
    values = {
        "accounts": [subject.account_id for subject in subjects.values()],
        "times": [subject.available_at for subject in subjects.values()],
        "ids": list(subjects),
        "most": most,
    }
    return {row[0]: row[1] for row in await tx.execute(_POSITIONS, values)}
