"""Lists of subjects, newest first: one account's, or every account's.

An account's list is read by the index that has its order; every account's by the ids, which sort
by age. Filters that no index has (state, tag) are checked row by row, for at most
MAX_ROWS_SCANNED rows.
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
from service.subjects.domain.subject import WaitingView
from service.subjects.store.subjects import VIEW_COLUMNS, view_of

Columns = Any  # the columns of the table, or of a subquery on it
Conditions = list[ColumnElement[bool]]
ID_TIME_MARGIN = 60.0  # seconds; far more than lie between a subject's created_at and its id's time
# The condition of the index of all accounts' external ids; an account's own have another index.
_HAS_EXTERNAL_ID = "subjects.external_task_id > ''"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectFilter:
    """Which subjects a list has; None stands for any."""

    state: State | None = None  # that the subject is in now
    external_task_id: str | None = None  # the caller's own id for the subject
    tag: str | None = None  # the id of a tag
    created_after: datetime | None = None  # itself excluded
    created_before: datetime | None = None  # itself excluded
    after: ListPosition | None = None  # the last row of the page before; None: the first page


async def page(
    tx: Connection, account_id: str | None, criteria: SubjectFilter, limit: int
) -> tuple[list[WaitingView], ListPosition | None]:
    """A page of an account's subjects and where the next page begins (None: this is the last).
    Without an account: of every account's subjects.

    At most MAX_ROWS_SCANNED rows are scanned, so a page may be short, or empty, and not the last.
    Subjects of the same time are ordered by id, so no page skips or repeats one.
    """
    in_range, filters = _range(account_id, criteria), _filters(account_id, criteria)
    most = MAX_ROWS_SCANNED if filters else limit + 1
    external_id = criteria.external_task_id
    if external_id is None:
        pool = _newest(account_id, in_range, filters, most)
    elif account_id is None:
        pool = _by_external_id(external_id, criteria.after, in_range, filters).limit(most)
    else:
        pool = _by_external_id_of_account(account_id, external_id, [*in_range, *filters])
    rows = await tx.execute(_page_rows(account_id, pool.subquery("pool"), most, limit))
    fit, last = bounded_scan.page_of(rows, limit, most)
    found = [view_of(row[: len(VIEW_COLUMNS)]) for row in fit]
    return found, None if last is None else (last["created_at"], last["id"])


def _newest(
    account_id: str | None, in_range: Conditions, filters: Conditions, most: int
) -> Select[Any]:
    """The next rows in the list's order, `most` of them, and whether each fits the filters."""
    found = select(*VIEW_COLUMNS, _fits(filters)).where(*in_range)
    return found.order_by(*_order(account_id, subjects.c)).limit(most)


def _by_external_id(
    external_id: str, after: ListPosition | None, in_range: Conditions, filters: Conditions
) -> Select[Any]:
    """The subjects with an external id, one of each account at most, newest first, and whether each
    fits the filters. The condition is a range of pairs, so that the right index is chosen."""
    pair = tuple_(subjects.c.external_task_id, subjects.c.id)
    last = "~" if after is None else after[1]  # every id is below the first
    low, high = (tuple_(literal(external_id, Id), literal(id_, Id)) for id_ in ("", last))
    found = select(*VIEW_COLUMNS, _fits(filters)).where(text(_HAS_EXTERNAL_ID), *in_range)
    order = (column.desc() for column in pair)
    return found.where(pair > low, pair < high).order_by(*order)


def _by_external_id_of_account(
    account_id: str, external_id: str, filters: Conditions
) -> Select[Any]:
    """The account's subject with an external id, and whether it fits the filters. The condition is
    a range of pairs in their order, which only the index on both columns has; that index has only
    subjects with an external id."""
    found = select(*VIEW_COLUMNS, _fits(filters))
    pair = tuple_(subjects.c.account_id, subjects.c.external_task_id)
    own = tuple_(literal(account_id, Id), literal(external_id, Id))
    there = subjects.c.external_task_id.is_not(None)
    return found.where(there, pair >= own, pair <= own).order_by(*pair).limit(1)


def _page_rows(account_id: str | None, pool: Subquery, most: int, limit: int) -> Select[Any]:
    """The rows that bounded_scan.page_of makes a page of."""
    number = func.row_number().over(order_by=_order(account_id, pool.c))
    read = select(pool, number.label("read")).subquery("read")
    rows = select(read).where(or_(read.c.fits, read.c.read == most))
    return rows.order_by(read.c.read).limit(limit + 1)


def _order(account_id: str | None, columns: Columns) -> tuple[UnaryExpression[Any], ...]:
    newest = (columns.id.desc(),)
    return newest if account_id is None else (columns.created_at.desc(), *newest)


def _range(account_id: str | None, criteria: SubjectFilter) -> Conditions:
    """The part of the index with the list's order in which the page is."""
    if account_id is None:
        return _id_range(criteria)
    conditions: Conditions = [subjects.c.account_id == account_id, *_time_bounds(criteria)]
    if criteria.after is not None:
        conditions.append(tuple_(subjects.c.created_at, subjects.c.id) < tuple_(*criteria.after))
    return conditions


def _id_range(criteria: SubjectFilter) -> Conditions:
    conditions: Conditions = []
    if criteria.created_after is not None:
        at = criteria.created_after.timestamp() - ID_TIME_MARGIN
        conditions.append(subjects.c.id >= first_id("sub", at))
    if criteria.created_before is not None:
        at = criteria.created_before.timestamp() + ID_TIME_MARGIN
        conditions.append(subjects.c.id < first_id("sub", at))
    if criteria.after is not None:
        conditions.append(subjects.c.id < criteria.after[1])
    return conditions


def _time_bounds(criteria: SubjectFilter) -> Conditions:
    conditions: Conditions = []
    if criteria.created_after is not None:
        conditions.append(subjects.c.created_at > criteria.created_after)
    if criteria.created_before is not None:
        conditions.append(subjects.c.created_at < criteria.created_before)
    return conditions


def _filters(account_id: str | None, criteria: SubjectFilter) -> Conditions:
    """The conditions that are checked row by row."""
    conditions = _time_bounds(criteria) if account_id is None else []
    if criteria.state is not None:
        conditions.append(subjects.c.state == criteria.state)
    if criteria.tag is not None:
        conditions.append(subjects.c.tags.contains([criteria.tag]))
    return conditions


def _fits(filters: Conditions) -> ColumnElement[bool]:
    return and_(true(), *filters).label("fits")
