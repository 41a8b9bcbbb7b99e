"""How long tasks took, and what was learnt from it for all workers."""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import text

from service.kit.database.connection import Connection

# By the provider's own times: when we heard of an end depends on what is to be learnt from it. The
# newest ends are found by the newest events, so that no index of subjects is written to by an end;
# each subject is then read by its id, which OFFSET 0 holds any plan to.
_RECENT = text("""
    SELECT reference_type, seconds FROM (
        SELECT reference_type, seconds,
            row_number() OVER (PARTITION BY reference_type ORDER BY finished_at DESC) AS nth
        FROM (
            SELECT subject_id, type FROM events
            WHERE position > 0 AND body IS NOT NULL
            ORDER BY xid DESC, position DESC LIMIT :look_back
        ) AS newest
        CROSS JOIN LATERAL (
            SELECT document ->> 'reference_type' AS reference_type, finished_at, extract(epoch FROM
                CAST(result ->> 'provider_updated_at' AS timestamptz)
                - CAST(result ->> 'provider_created_at' AS timestamptz)
            ) AS seconds
            FROM subjects WHERE id = newest.subject_id OFFSET 0
        ) AS subject
        WHERE type = 'subject.succeeded' AND seconds >= 0
    ) AS numbered
    WHERE nth <= :samples
""")
_SAVE = text("""
    UPDATE provider_state
    SET typical_durations = coalesce(typical_durations, '{}') || CAST(:durations AS jsonb)
""")


async def recent_durations(tx: Connection, look_back: int, samples: int) -> dict[str, list[float]]:
    """Seconds that the newest successes took, by reference type: at most `samples` of each, among
    the subjects of the newest `look_back` events."""
    durations: defaultdict[str, list[float]] = defaultdict(list)
    values = {"look_back": look_back, "samples": samples}
    for reference_type, seconds in await tx.execute(_RECENT, values):
        durations[reference_type].append(float(seconds))
    return dict(durations)


async def save(tx: Connection, durations: Mapping[str, float]) -> None:
    """Keep seconds by reference type; a type that is not among them keeps its own."""
    await tx.execute(_SAVE, {"durations": durations})
