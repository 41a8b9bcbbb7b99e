"""Lists of subjects, the newest first: an account's, or every account's.

An account's are read by the index of its list; every account's by their ids, which sort by age.
What no index has, states and tags, is looked for among the next MOST_READ.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    UnaryExpression,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)

from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED, ListPosition
from service.kit.database.connection import Connection
from service.kit.ids import first_id
from service.schema.base import Id
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject
from service.subjects.store.subjects import COLUMNS, subject_of

Columns = Any  # those of the table, or of what was read of it
Conditions = list[ColumnElement[bool]]
# Far more seconds than lie between a subject's created_at and the making of its id.
MARGIN = 60.0
# As the index of everybody's external ids has it; an account's are to be served by another.
_EVERYBODYS = "subjects.external_task_id > ''"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectFilter:
    """What a list is narrowed to; bounds exclude. `below` is the last (created_at, id) seen."""

    state: State | None = None
    external_task_id: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    below: ListPosition | None = None


async def page(
    tx: Connection, account_id: str | None, wanted: SubjectFilter, limit: int
) -> tuple[list[Subject], ListPosition | None]:
    """A page of an account's, or of every account's, and where to go on below; None at the end.

    Only MOST_READ are looked through, so a page may be short, or empty, and not the last. Ties in
    time are ordered by id, so a place neither skips nor repeats.
    """
    sought, filters = _sought(account_id, wanted), _filters(account_id, wanted)
    most = MAX_ROWS_SCANNED if filters else limit + 1
    name = wanted.external_task_id
    if name is None:
        pool = _newest(account_id, sought, filters, most)
    elif account_id is None:
        pool = _called_by_anybody(name, wanted.below, sought, filters).limit(most)
    else:
        pool = _called(account_id, name, [*sought, *filters])
    rows = await tx.execute(_fitting(account_id, pool.subquery("pool"), most, limit))
    fit, last = bounded_scan.page_of(rows, limit, most)
    found = [subject_of(row[: len(COLUMNS)]) for row in fit]
    return found, None if last is None else (last["created_at"], last["id"])


def _newest(
    account_id: str | None, sought: Conditions, filters: Conditions, most: int
) -> Select[Any]:
    """The next so many in the list's order, and whether each fits."""
    found = select(*COLUMNS, _fits(filters)).where(*sought)
    return found.order_by(*_order(account_id, subjects.c)).limit(most)


def _called_by_anybody(
    name: str, below: ListPosition | None, sought: Conditions, filters: Conditions
) -> Select[Any]:
    """What accounts call so, one of each at most, the newest first, and whether each fits. It is
    looked for as a range of pairs, as below."""
    pair = tuple_(subjects.c.external_task_id, subjects.c.id)
    last = "~" if below is None else below[1]  # every id is below the first
    low, high = (tuple_(literal(name, Id), literal(id_, Id)) for id_ in ("", last))
    found = select(*COLUMNS, _fits(filters)).where(text(_EVERYBODYS), *sought)
    order = (column.desc() for column in pair)
    return found.where(pair > low, pair < high).order_by(*order)


def _called(account_id: str, name: str, filters: Conditions) -> Select[Any]:
    """What the account calls so, and whether it fits. It is looked for as a range of pairs in their
    order, which only the index that leads there directly has."""
    found = select(*COLUMNS, _fits(filters))
    pair = tuple_(subjects.c.account_id, subjects.c.external_task_id)
    own = tuple_(literal(account_id, Id), literal(name, Id))
    return found.where(pair >= own, pair <= own).order_by(*pair).limit(1)


def _fitting(account_id: str | None, pool: Subquery, most: int, limit: int) -> Select[Any]:
    """What bounded_scan.page_of reads."""
    number = func.row_number().over(order_by=_order(account_id, pool.c))
    read = select(pool, number.label("read")).subquery("read")
    wanted = select(read).where(or_(read.c.fits, read.c.read == most))
    return wanted.order_by(read.c.read).limit(limit + 1)


def _order(account_id: str | None, columns: Columns) -> tuple[UnaryExpression[Any], ...]:
    newest = (columns.id.desc(),)
    return newest if account_id is None else (columns.created_at.desc(), *newest)


def _sought(account_id: str | None, wanted: SubjectFilter) -> Conditions:
    """From where to where in the index that has the list's order."""
    if account_id is None:
        return _sought_by_id(wanted)
    conditions: Conditions = [subjects.c.account_id == account_id, *_bounds(wanted)]
    if wanted.below is not None:
        conditions.append(tuple_(subjects.c.created_at, subjects.c.id) < tuple_(*wanted.below))
    return conditions


def _sought_by_id(wanted: SubjectFilter) -> Conditions:
    conditions: Conditions = []
    if wanted.created_after is not None:
        at = wanted.created_after.timestamp() - MARGIN
        conditions.append(subjects.c.id >= first_id("sub", at))
    if wanted.created_before is not None:
        at = wanted.created_before.timestamp() + MARGIN
        conditions.append(subjects.c.id < first_id("sub", at))
    if wanted.below is not None:
        conditions.append(subjects.c.id < wanted.below[1])
    return conditions


def _bounds(wanted: SubjectFilter) -> Conditions:
    conditions: Conditions = []
    if wanted.created_after is not None:
        conditions.append(subjects.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(subjects.c.created_at < wanted.created_before)
    return conditions


def _filters(account_id: str | None, wanted: SubjectFilter) -> Conditions:
    """What is looked for row by row."""
    conditions = _bounds(wanted) if account_id is None else []
    if wanted.state is not None:
        conditions.append(subjects.c.state == wanted.state)
    if wanted.tag is not None:
        conditions.append(subjects.c.tags.contains([wanted.tag]))
    return conditions


def _fits(filters: Conditions) -> ColumnElement[bool]:
    return and_(true(), *filters).label("fits")
