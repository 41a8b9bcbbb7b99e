"""Tables filled in bulk: indexes and foreign keys are dropped, and made again as they were."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.database import connected

MEMORY = "SET maintenance_work_mem = '512MB'"  # of this session: what an index is sorted in

# Constraints come with the indexes that serve them; foreign keys of others point at these tables.
_CONSTRAINTS = """
    SELECT kind, relation, name, definition FROM (
        SELECT c.contype::text AS kind, c.conrelid::regclass::text AS relation, c.conname AS name,
            pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c WHERE c.contype IN ('p', 'u', 'f') AND (
            c.conrelid = ANY (CAST($1::text[] AS regclass[]))
            OR c.confrelid = ANY (CAST($1::text[] AS regclass[])))
        UNION ALL
        SELECT 'i', i.indrelid::regclass::text, i.indexrelid::regclass::text,
            pg_get_indexdef(i.indexrelid)
        FROM pg_index i WHERE i.indrelid = ANY (CAST($1::text[] AS regclass[]))
        AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid
            AND c.contype IN ('p', 'u'))
    ) constraints ORDER BY kind, relation, name
"""


@dataclass(frozen=True, slots=True)
class _Constraint:
    """A constraint (kind p, u or f) or an index that serves none (kind i)."""

    kind: str
    relation: str
    name: str
    definition: str

    def drop(self) -> str:
        if self.kind == "i":
            return f"DROP INDEX {self.name}"
        return f"ALTER TABLE {self.relation} DROP CONSTRAINT {self.name}"

    def make(self) -> str:
        if self.kind == "i":
            return self.definition
        return f"ALTER TABLE {self.relation} ADD CONSTRAINT {self.name} {self.definition}"


async def fill(url: str, statements: Mapping[str, Sequence[str]]) -> None:
    """Run the statements, which are given by the table that they fill, with none of its indexes
    in the way; then have every table vacuumed and analysed, and all of it on the disk."""
    tables = list(statements)
    async with connected(url) as connection:
        constraints = await _constraints(connection, tables)
        for constraint in constraints:  # foreign keys come first in the order of their letters
            await connection.execute(constraint.drop())
        await _in_two(url, statements)
        await _in_two(
            url, _by_table([constraint for constraint in constraints if constraint.kind != "f"])
        )
        for constraint in constraints:
            if constraint.kind == "f":
                await connection.execute(constraint.make())
        if constraints != await _constraints(connection, tables):
            raise RuntimeError("the tables are not as they were")
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")


def _by_table(constraints: Sequence[_Constraint]) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for constraint in sorted(constraints, key=lambda constraint: constraint.kind == "i"):
        made.setdefault(constraint.relation, []).append(constraint.make())
    return made


async def _in_two(url: str, statements: Mapping[str, Sequence[str]]) -> None:
    """The table with the most to do on one connection, all others meanwhile on another."""
    largest = next(iter(statements))
    rest = [
        statement for table, some in statements.items() if table != largest for statement in some
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(_all(url, statements[largest]))
        group.create_task(_all(url, rest))


async def _all(url: str, statements: Sequence[str]) -> None:
    async with connected(url) as connection:
        await connection.execute(MEMORY)
        for statement in statements:
            await connection.execute(statement)


async def _constraints(connection: Any, tables: list[str]) -> list[_Constraint]:  # noqa: ANN401 - asyncpg has no types
    return [_Constraint(*row) for row in await connection.fetch(_CONSTRAINTS, tables)]
