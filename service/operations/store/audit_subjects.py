"""Subjects as the audit holds them against the provider's tasks."""

from collections.abc import Sequence

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.provider_audit import TAKEN, HeldSubject
from service.operations.store.audit_ranges import Range
from service.schema.base import one_of
from service.subjects.domain.lifecycle import State

_BY_IDS = text("""
    SELECT id, state, provider_task_id, updated_at FROM subjects
    WHERE id = ANY (CAST(:ids AS text[]))
""")
_TAKEN = text(f"""
    SELECT s.id, s.state, s.provider_task_id, s.updated_at
    FROM unnest(CAST(:lows AS text[]), CAST(:highs AS text[])) AS given (low, high)
    CROSS JOIN LATERAL (
        SELECT id, state, provider_task_id, updated_at FROM subjects
        WHERE id >= 'sub_' || low AND id < 'sub_' || high AND state IN ({one_of(TAKEN)})
    ) s
""")  # noqa: S608 - only our own states are put in


async def by_ids(tx: Connection, ids: Sequence[str]) -> dict[str, HeldSubject]:
    """Those of these subjects that there are, by their ids."""
    return {row["id"]: _held(row) for row in await tx.execute(_BY_IDS, {"ids": list(ids)})}


async def taken(tx: Connection, ranges: Sequence[Range]) -> list[HeldSubject]:
    """Those subjects of these ranges that the provider has taken."""
    lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
    return [_held(row) for row in await tx.execute(_TAKEN, {"lows": lows, "highs": highs})]


def _held(row: Sequence[object]) -> HeldSubject:
    id_, state, task_id, updated_at = row
    return HeldSubject(id_, State(state), task_id, updated_at)  # type: ignore[arg-type]
