"""Which subjects the audit looks at: ranges of stems, a bounded slice of them at a time.

A stem is what an id has behind its prefix: `01kb…` of `sub_01kb…`. Events, deliveries and attempts
of a subject have it too, with `_` and more behind it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.schema.base import one_of
from service.schema.transaction_ids import NEXT, event_xid
from service.subjects.domain.lifecycle import WITH_PROVIDER

SLICE = 20_000  # rows of one slice: of subjects, of events, and of deliveries

# From the first stem on, and below the second.
Range = tuple[str, str]

FIRST = ""  # sorts before every stem
_END = "~"  # sorts behind every stem
_BEHIND = "`"  # with a stem before it: sorts behind all ids of that stem
_STEM = re.compile(r"[a-z]{3}_([0-9a-z]+)")


def ranges_of(ids: Iterable[str]) -> list[Range]:
    """Ranges of the subjects that these ids belong to: its own, or of an event or delivery. None
    overlaps with another."""
    stems = sorted({match[1] for id_ in ids if (match := _STEM.match(id_))})
    apart: list[Range] = []
    for stem in stems:
        if not apart or stem >= apart[-1][1]:
            apart.append((stem, stem + _BEHIND))
    return apart


def _nth_stem(table: str, prefix: str) -> str:
    return f"""(
        SELECT split_part(substr(id, 5), '_', 1) FROM {table} WHERE id >= '{prefix}_' || :low
        ORDER BY id OFFSET :rows LIMIT 1
    )"""  # noqa: S608 - our own names


_NEXT = text(
    f"SELECT least({_nth_stem('subjects', 'sub')}, {_nth_stem('events', 'evt')},"
    f" {_nth_stem('deliveries', 'dlv')})"
)


async def next_range(tx: Connection, low: str, rows: int) -> Range | None:
    """The range that begins at the stem `low`, with at most `rows` rows of each table, or more if
    they have one stem; None behind the last."""
    if low == _END:
        return None
    found = await tx.scalar(_NEXT, {"low": low, "rows": rows})
    if found is None:
        return low, _END
    return low, found if found > low else low + _BEHIND


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the feed of every account."""

    xid: str  # a transaction's number, in digits
    position: int


# What is of a transaction to come was restored from another Postgres: it is behind all others here,
# until `callsheet migrate` has run.
_NOW = text(f"SELECT CAST({event_xid(NEXT)} AS text)")
_BEFORE = text("""
    SELECT id, CAST(xid AS text) AS xid, position, created_at FROM events
    WHERE position > 0 AND body IS NOT NULL
    AND (xid, position) < (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
    ORDER BY events.xid DESC, position DESC LIMIT :rows  -- not by the text of the same name
""")


async def end_of_feed(tx: Connection) -> Place:
    """The place behind the newest event."""
    return Place(await tx.scalar(_NOW), 0)


async def changes_before(
    tx: Connection, place: Place, since: datetime, rows: int
) -> tuple[list[str], Place]:
    """Of the `rows` newest events before a place in the feed, the ids of those since this time; and
    the place of the oldest. No ids: there are no more, as the feed is nearly in order of time."""
    values = {"xid": place.xid, "position": place.position, "rows": rows}
    found = await tx.execute(_BEFORE, values)
    ids = [row["id"] for row in found if row["created_at"] >= since]
    return ids, Place(found[-1]["xid"], found[-1]["position"]) if ids else place


_WITH_PROVIDER = text(
    f"SELECT id FROM subjects WHERE state IN ({one_of(WITH_PROVIDER)}) LIMIT :rows"  # noqa: S608 - ours
)


async def with_provider(tx: Connection, rows: int) -> list[str]:
    """Ids of subjects that are with the provider, at most `rows`: some of their moves make no
    event."""
    return [id_ for (id_,) in await tx.execute(_WITH_PROVIDER, {"rows": rows})]
