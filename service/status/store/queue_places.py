"""Places in the queue: how many of an account's queued subjects are before one."""

from collections.abc import Sequence

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.subject import Subject

# Each is counted from the one asked for that is next before it, and the counts are added up: of
# many that are asked for together, none is passed twice. Each count goes through ix_subjects_queued
# from one place to the other, and no further than :most.
_BEFORE = text("""
    WITH given AS (
        SELECT account_id, at, id,
            lag(at, 1, '-infinity') OVER queue AS from_at, lag(id, 1, '') OVER queue AS from_id
        FROM (
            SELECT account_id, at, id COLLATE "C" AS id FROM unnest(
                CAST(:accounts AS text[]), CAST(:times AS timestamptz[]), CAST(:ids AS text[])
            ) AS asked (account_id, at, id)
        ) AS asked
        WINDOW queue AS (PARTITION BY account_id ORDER BY at, id)
    ), counted AS (
        SELECT given.*, (
            SELECT count(*) FROM (
                SELECT 1 FROM subjects s
                WHERE s.state = 'queued' AND s.account_id = given.account_id
                AND (s.available_at, s.id) >= (given.from_at, given.from_id)
                AND (s.available_at, s.id) < (given.at, given.id)
                LIMIT :most
            ) AS passed
        ) AS passed
        FROM given
    )
    SELECT id, least(:most, CAST(sum(passed) OVER (PARTITION BY account_id ORDER BY at, id) AS int))
    FROM counted
""")


async def before(tx: Connection, queued: Sequence[Subject], most: int) -> dict[str, int]:
    """By their ids; counted up to `most`."""
    asked = {subject.id: subject for subject in queued}
    values = {
        "accounts": [subject.account_id for subject in asked.values()],
        "times": [subject.available_at for subject in asked.values()],
        "ids": list(asked),
        "most": most,
    }
    return {row[0]: row[1] for row in await tx.execute(_BEFORE, values)}
