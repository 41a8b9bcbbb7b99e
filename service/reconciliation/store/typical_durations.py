"""What all workers must know of the provider: whether it is stopped, its parallel limit, how often
it is asked, and how long its tasks take."""

from collections import defaultdict

from sqlalchemy import text

from service.kit.database.connection import Connection

# By the provider's own times: when we heard of an end depends on what is to be learnt from it.
_DURATIONS = text("""
    SELECT kind, seconds FROM (
        SELECT kind, seconds, row_number() OVER (PARTITION BY kind ORDER BY finished_at DESC) AS nth
        FROM (
            SELECT document ->> 'reference_type' AS kind, finished_at, extract(epoch FROM
                CAST(result ->> 'provider_updated_at' AS timestamptz)
                - CAST(result ->> 'provider_created_at' AS timestamptz)
            ) AS seconds
            FROM subjects WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :look_back
        ) AS newest
        WHERE seconds >= 0
    ) AS counted
    WHERE nth <= :most
""")


async def recent_durations(tx: Connection, look_back: int, most: int) -> dict[str, list[float]]:
    """Seconds that the newest successes took, by reference type, at most so many of each; found
    among so many of the subjects that ended last."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for kind, seconds in await tx.execute(_DURATIONS, {"look_back": look_back, "most": most}):
        found[kind].append(float(seconds))
    return dict(found)
