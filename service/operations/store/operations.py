"""Bulk operations: their rows, and whose step is next."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import insert, text, update

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database import bounded_scan
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED
from service.kit.database.connection import Connection, Row
from service.kit.ids import first_id
from service.operations.domain.bulk import Filter, Position
from service.operations.domain.operation import OperationKind, OperationState, StopReason
from service.schema.operations import operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A row of `operations`."""

    id: str  # opr_…; sorts by age
    what: OperationKind  # what is done to each
    account_id: str | None  # whose items alone; None: every account's
    filter: Filter  # which of them
    cut_off: datetime  # what came later is left alone
    rate: float | None = None  # items a second at most; None: as fast as it goes
    state: OperationState = OperationState.RUNNING
    count: int  # how many there were when it was made
    count_exact: bool  # false: there are more, but counting would have taken too long
    cannot: dict[str, int]  # how many others met the filter, by why it cannot be done to them
    done: int = 0  # it was done to so many
    skipped: int = 0  # so many had changed when their turn came
    failed: int = 0  # with so many it came to a fault
    first: list[dict[str, str]]  # the first ten, each with its id and its state
    position: Position | None = None  # what is next; None: the first
    next_step_at: datetime | None  # when it goes on, or its lease ends; None: it has ended
    lease_token: str | None = None  # of the step that is under way; None: none is
    stop_reason: StopReason | None = None  # None: it was not stopped
    created_at: datetime  # by our clock
    finished_at: datetime | None = None  # None: it runs


@dataclass(frozen=True, slots=True)
class ClaimedStep:
    """A step of an operation that a worker has claimed."""

    operation_id: str  # of which operation
    lease_token: str  # it counts only while the operation has this one
    due_at: datetime  # since when it was due


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationList:
    """Which operations a page lists."""

    account_id: str | None = None  # None: every account's, and those over all accounts
    what: str | None = None  # an OperationKind; None: any
    state: str | None = None  # an OperationState; None: any
    after: str | None = None  # id of the last row of the page before; None: the first page


_NAMES = [field.name for field in fields(Operation)]
_COLUMNS = ", ".join(_NAMES)
_BY_ID = text(f"SELECT {_COLUMNS} FROM operations WHERE id = :id")  # noqa: S608 - our own words
_LOCK = text(f"SELECT {_COLUMNS} FROM operations WHERE id = :id FOR UPDATE")  # noqa: S608
_PAGE = text(f"""
    SELECT * FROM (
        SELECT *, row_number() OVER (ORDER BY id DESC) AS read,
            (account_id = :account_id OR CAST(:account_id AS text) IS NULL)
            AND (what = :what OR CAST(:what AS text) IS NULL)
            AND (state = :state OR CAST(:state AS text) IS NULL) AS fits
        FROM (
            SELECT {_COLUMNS} FROM operations WHERE id < :after ORDER BY id DESC LIMIT :most
        ) newest
    ) o
    WHERE o.fits OR o.read = :most
    ORDER BY o.read LIMIT :limit
""")  # noqa: S608 - likewise
_AFTER_ALL = "opr`"  # every id is below it
# The one whose step was due first: so several go on in turns, whatever their size.
_CLAIM = text(f"""
    WITH due AS (
        SELECT id, next_step_at FROM operations
        WHERE state = 'running' AND next_step_at <= :now AND {AT_HOME}
        ORDER BY next_step_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE operations o SET lease_token = :token, next_step_at = :lease_until
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.lease_token, due.next_step_at
""")  # noqa: S608 - only our own words are put in
_COUNT_RUNNING_REPLAYS = text("""
    SELECT count(*) FROM operations
    WHERE state = 'running' AND what = 'replay' AND account_id = :account_id
""")
_PRUNE = text("""
    DELETE FROM operations WHERE id = ANY (ARRAY(
        SELECT id FROM operations WHERE id < :first AND state <> 'running' ORDER BY id LIMIT :limit
    ))
    RETURNING id
""")


async def add(tx: Connection, operation: Operation) -> None:
    """Write a new operation."""
    values = {name: getattr(operation, name) for name in _NAMES}
    await tx.execute(insert(operations).values(**values))


async def get(tx: Connection, operation_id: str) -> Operation | None:
    """The operation of this id; None if there is none."""
    return _found(await tx.first(_BY_ID, {"id": operation_id}))


async def lock(tx: Connection, operation_id: str) -> Operation | None:
    """The operation of this id, which nobody else changes until this transaction ends; None if
    there is none."""
    return _found(await tx.first(_LOCK, {"id": operation_id}))


async def page(
    tx: Connection, criteria: OperationList, limit: int
) -> tuple[list[Operation], str | None]:
    """At most `limit` operations, the newest first, and the id that the next page begins after;
    None at the end. At most MAX_ROWS_SCANNED rows are read, so a page may be short."""
    values = {
        "account_id": criteria.account_id,
        "what": criteria.what,
        "state": criteria.state,
        "after": criteria.after or _AFTER_ALL,
        "most": MAX_ROWS_SCANNED,
        "limit": limit + 1,
    }
    rows = await tx.execute(_PAGE, values)
    fit, last = bounded_scan.page_of(rows, limit, MAX_ROWS_SCANNED)
    return [_operation(row) for row in fit], None if last is None else str(last["id"])


async def claim(
    tx: Connection, fence: Fence, now: datetime, token: str, lease_until: datetime
) -> ClaimedStep | None:
    """Claim the step that was due first, under a lease; None if none is due, and none outside the
    fence."""
    values = {"now": now, "token": token, "lease_until": lease_until, **fence.values()}
    row = await tx.first(_CLAIM, values)
    return None if row is None else ClaimedStep(*row)


async def save(tx: Connection, operation: Operation) -> None:
    """Write what moves in an operation that this transaction has locked."""
    moving = (
        *("state", "count", "count_exact", "done", "skipped", "failed", "position"),
        *("next_step_at", "lease_token", "stop_reason", "finished_at"),
    )
    values: dict[str, Any] = {name: getattr(operation, name) for name in moving}
    await tx.execute(update(operations).where(operations.c.id == operation.id).values(**values))


async def count_running_replays(tx: Connection, account_id: str) -> int:
    """How many replays to subscribers of this account are running."""
    return int(await tx.scalar(_COUNT_RUNNING_REPLAYS, {"account_id": account_id}))


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest `limit` operations at most, of those that were made before a time and have
    ended; how many."""
    first = first_id("opr", before.timestamp())
    return len(await tx.execute(_PRUNE, {"first": first, "limit": limit}))


def _found(row: Row | None) -> Operation | None:
    return None if row is None else _operation(row)


def _operation(row: Row) -> Operation:
    read = {name: row[name] for name in _NAMES}
    reason = read["stop_reason"]
    return Operation(
        **read
        | {
            "what": OperationKind(read["what"]),
            "state": OperationState(read["state"]),
            "stop_reason": None if reason is None else StopReason(reason),
        }
    )
