"""The action log: written once, read newest first, kept for a while. Ids have the time in them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Select, and_, delete, func, literal, or_, select, true, tuple_

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED
from service.kit.database.connection import Connection, Row
from service.kit.ids import first_id
from service.schema.accounts import accounts
from service.schema.base import Id
from service.schema.operations import actions

PREFIX = "act"  # of the ids
LAST_ID = f"{PREFIX}_~"  # above every id
EDGE = 0.002  # seconds; the time in an id is rounded down to milliseconds


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """An entry of the action log as it is stored."""

    id: str  # act_…
    at: datetime  # by our clock
    actor: Mapping[str, Any]  # who did it: Actor.as_json()
    action: str  # what was done: an ActionKind, perhaps of another release
    object_id: str | None  # this and the following as in Action
    account: str | None  # the account's name
    request_id: str | None  # of the request that did it; None: a command did
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFilter:
    """What the list is narrowed to; None narrows nothing."""

    object_id: str | None = None  # what was acted on
    account_id: str | None = None  # whose that is
    action: ActionKind | None = None  # what was done
    created_after: datetime | None = None  # itself excluded
    created_before: datetime | None = None  # itself excluded
    after: str | None = None  # id of the last entry of the page before; None: the first page


async def add(tx: Connection, id_: str, at: datetime, actor: Actor, action: Action) -> None:
    """Write an entry; `id_` is made at the time `at`."""
    values = {
        "id": id_,
        "at": at,
        "actor": actor.as_json(),
        "action": action.kind.value,
        "object_id": action.object_id,
        "account_id": action.account_id,
        "request_id": actor.request_id,
        "before": action.before,
        "after": action.after,
    }
    await tx.execute(actions.insert().values(values))


async def page(
    tx: Connection, criteria: ActionFilter, limit: int
) -> tuple[list[ActionRecord], str | None]:
    """A page of entries, newest first, and the cursor of the next page; None at the end.

    At most MAX_ROWS_SCANNED rows are scanned, so a page may be short or empty without being the
    last.
    """
    sought = _sought(criteria)
    most = MAX_ROWS_SCANNED if len(sought) > 1 else limit + 1
    pool = _newest(criteria, sought, most).subquery("pool")
    number = func.row_number().over(order_by=pool.c.id.desc()).label("read")
    read = select(pool, number).subquery("read")
    shown = select(read).where(or_(read.c.fits, read.c.read == most))
    rows = await tx.execute(shown.order_by(read.c.read).limit(limit + 1))
    fit, last = bounded_scan.page_of(rows, limit, most)
    return [_record(row) for row in fit], None if last is None else str(last["id"])


def _sought(criteria: ActionFilter) -> list[tuple[Column[Any], str]]:
    """The columns that must have a value; each has an index with the ids."""
    columns = (actions.c.object_id, actions.c.account_id, actions.c.action)
    values = (criteria.object_id, criteria.account_id, criteria.action)
    return [
        (column, value) for column, value in zip(columns, values, strict=True) if value is not None
    ]


def _newest(
    criteria: ActionFilter, sought: list[tuple[Column[Any], str]], most: int
) -> Select[Any]:
    """The next `most` rows by the index of the first column sought, and whether each `fits` all.

    The condition is a range of pairs in their order, which only the index on both columns has.
    """
    account = select(accounts.c.name).where(accounts.c.id == actions.c.account_id)
    fits = and_(true(), *(column == value for column, value in sought[1:])).label("fits")
    found = select(actions, account.scalar_subquery().label("account"), fits)
    low, high = _id_range(criteria)
    ids = actions.c.id
    if sought:
        column, value = sought[0]
        first, pair = literal(value, column.type), tuple_(column, ids)
        found = found.where(
            column.is_not(None),  # the indexes have no others
            pair >= tuple_(first, literal(low, Id)),
            pair < tuple_(first, literal(high, Id)),
        ).order_by(column.desc(), ids.desc())
    else:
        found = found.where(ids >= low, ids < high).order_by(ids.desc())
    if criteria.created_after is not None:
        found = found.where(actions.c.at > criteria.created_after)
    if criteria.created_before is not None:
        found = found.where(actions.c.at < criteria.created_before)
    return found.limit(most)


def _id_range(criteria: ActionFilter) -> tuple[str, str]:
    """The ids of the times asked for, behind those of the pages before: the first, and the one
    behind the last; a little too wide."""
    low, high = "", LAST_ID
    if criteria.created_after is not None:
        low = first_id(PREFIX, criteria.created_after.timestamp())
    if criteria.created_before is not None:
        high = first_id(PREFIX, criteria.created_before.timestamp() + EDGE)
    return low, high if criteria.after is None else min(high, criteria.after)


def _record(row: Row) -> ActionRecord:
    return ActionRecord(*(row[field.name] for field in fields(ActionRecord)))


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest `limit` entries at most, of those written before a time; how many."""
    first_kept = first_id(PREFIX, before.timestamp())
    ids = actions.c.id
    old = select(ids).where(ids < first_kept).order_by(ids).limit(limit)
    return len(await tx.execute(delete(actions).where(ids.in_(old)).returning(ids)))
