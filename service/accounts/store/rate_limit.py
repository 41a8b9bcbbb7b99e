"""Whose keys these are, and how many requests their accounts may make."""

from collections.abc import Mapping

from sqlalchemy import text

from service.kit.database.connection import Connection

# Each request takes 1 / rate seconds, and as many fit as end within a burst from now. What is left
# over from a pause longer than that is forgotten. Time is Postgres': a process whose clock is
# behind would find the rate used up by one whose clock is ahead. Rows are locked in order, as
# claims of subjects do.
_CONSUME = text("""
    WITH asked AS (
        SELECT a.id, greatest(a.rate_used_until, t.now) AS since, given.count, t.now
        FROM unnest(CAST(:accounts AS text[]), CAST(:counts AS int[])) AS given (id, count)
        JOIN accounts a ON a.id = given.id
        CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS t
        ORDER BY a.id FOR NO KEY UPDATE OF a
    ), granted AS (
        SELECT id, since, now, least(count, greatest(0, floor(CAST(:rate AS float8) * (
            CAST(:burst AS float8) - extract(epoch FROM since - now)
        ) + 1e-6))) AS number
        FROM asked
    )
    UPDATE accounts a
    SET rate_used_until = g.since + make_interval(secs => g.number / CAST(:rate AS float8))
    FROM granted g WHERE a.id = g.id
    RETURNING a.id, CAST(g.number AS int),
        CAST(extract(epoch FROM a.rate_used_until - g.now) AS float8)
""")


async def consume(
    tx: Connection, asked: Mapping[str, int], rate: float
) -> dict[str, tuple[int, float]]:
    """How many of the requests that each account asks for it may make now, at so many a second and
    a burst at once; and the seconds that what it has made uses up the rate for."""
    values = {
        "accounts": list(asked),
        "counts": list(asked.values()),
        "rate": rate,
        "burst": burst_seconds(rate),
    }
    return {row[0]: (row[1], row[2]) for row in await tx.execute(_CONSUME, values)}


def burst_seconds(rate: float) -> float:
    """Seconds whose requests may come at once: one, or as many as one request takes."""
    return max(1.0, 1.0 / rate)
