"""The rate limit: how many requests per second an account may make, and in which bursts.

Each request uses up 1 / rate seconds of the account's time (`accounts.rate_used_until`), and is
granted if what is used up then ends within a burst from now. A longer pause saves nothing.
"""

from collections.abc import Mapping

from sqlalchemy import text

from service.kit.database.connection import Connection

# Time is Postgres': a process whose clock is behind would find the rate used up by one whose clock
# is ahead. Rows are locked in the order of ids, as claims of subjects lock them.
_CONSUME = text("""
    WITH requested AS (
        SELECT a.id, greatest(a.rate_used_until, t.now) AS since, given.count, t.now
        FROM unnest(CAST(:accounts AS text[]), CAST(:counts AS int[])) AS given (id, count)
        JOIN accounts a ON a.id = given.id
        CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS t
        ORDER BY a.id FOR NO KEY UPDATE OF a
    ), granted AS (
        SELECT id, since, now, least(count, greatest(0, floor(CAST(:rate AS float8) * (
            CAST(:burst AS float8) - extract(epoch FROM since - now)
        ) + 1e-6))) AS number
        FROM requested
    )
    UPDATE accounts a
    SET rate_used_until = g.since + make_interval(secs => g.number / CAST(:rate AS float8))
    FROM granted g WHERE a.id = g.id
    RETURNING a.id, CAST(g.number AS int),
        CAST(extract(epoch FROM a.rate_used_until - g.now) AS float8)
""")


async def consume(
    tx: Connection, requested: Mapping[str, int], rate: float
) -> dict[str, tuple[int, float]]:
    """Count requests, by account id, against a rate (requests per second of each account).

    By account id: how many of them are granted now, and for how many seconds from now the rate is
    used up then.
    """
    values = {
        "accounts": list(requested),
        "counts": list(requested.values()),
        "rate": rate,
        "burst": burst_seconds(rate),
    }
    return {row[0]: (row[1], row[2]) for row in await tx.execute(_CONSUME, values)}


def burst_seconds(rate: float) -> float:
    """The seconds whose requests may come at once: 1, or as many as one request takes."""
    return max(1.0, 1.0 / rate)
