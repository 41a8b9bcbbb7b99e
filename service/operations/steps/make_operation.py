"""Makes bulk operations: counts what they are about, and writes their rows; workers do the rest."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log, authenticate
from service.accounts.store import owners
from service.delivery.steps.replay import sendable
from service.kit.database.connection import Connection
from service.kit.errors import FieldError, Invalid
from service.kit.timestamps import format_rfc3339
from service.operations.domain.bulk import SCANNED
from service.operations.domain.operation import OperationKind, shown_filter
from service.operations.steps.bulk_kinds import KINDS
from service.operations.steps.operation_rules import OperationRequest, validate_operation
from service.operations.steps.run_operation import log_fields
from service.operations.store import operations
from service.operations.store.operations import Operation
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work
from service.subscribers.store import subscribers

log = structlog.get_logger()

FIRST = 10  # items that an operation shows
# A count ends after so many items, or so many seconds: it is part of a request.
MAX_COUNTED = 1_000_000
COUNT_SECONDS = 5.0
# At once, in one process, in all and of one account: each uses a connection to Postgres.
MAX_COUNTS = 6
MAX_COUNTS_PER_ACCOUNT = 3


@dataclass(frozen=True, slots=True)
class MadeOperation:
    """An operation that was asked for."""

    operation: Operation  # as it is written, or would be
    dry_run: bool  # nothing was written


async def make_operation(resources: Resources, actor: Actor | None, body: object) -> MadeOperation:
    """Make the operation that a JSON body asks for, to be done by workers; or only count, for a dry
    run. Invalid with every error in the body; Conflict for a replay to a disabled subscriber."""
    request = validate_operation(body, resources.clock())
    account_id = await _account_id(resources, request)
    counted = await count(resources, new_operation(resources, request, account_id))
    if not request.dry_run:
        async with resources.database.transaction() as tx:
            await start(tx, counted)
            await action_log.record(tx, resources, actor, started(counted))
        log.info("operation", action="operation_started", **log_fields(counted))
    return MadeOperation(counted, request.dry_run)


def new_operation(
    resources: Resources, request: OperationRequest, account_id: str | None
) -> Operation:
    """The operation that is asked for, of this account (None: of every account), not counted."""
    now = resources.clock()
    return Operation(
        id=resources.new_id("opr", now),
        what=request.what,
        account_id=account_id,
        filter=request.filter,
        cut_off=request.cut_off,
        rate=request.rate,
        count=0,
        count_exact=False,
        cannot={},
        first=[],
        next_step_at=now,
        created_at=now,
    )


async def start(tx: Connection, operation: Operation) -> None:
    """Write an operation that workers begin with as soon as this transaction is committed."""
    await operations.add(tx, operation)
    await work.notify(tx, Work.OPERATE)


def started(operation: Operation) -> Action:
    """What the action log says of an operation that begins."""
    after = {
        "what": operation.what.value,
        "filter": shown_filter(operation.filter),
        "cut_off": format_rfc3339(operation.cut_off),
        "rate": operation.rate,
        "count": operation.count,
    }
    kind = ActionKind.OPERATION_STARTED
    return Action(kind, operation.id, operation.account_id, after=after)


async def count(resources: Resources, operation: Operation, most: int = MAX_COUNTED) -> Operation:
    """The operation with its first items, and how many there are: exactly, unless there are more
    than `most`, or counting takes longer than COUNT_SECONDS. Unavailable if too many are being
    counted, in all or of its account."""
    with resources.count_slots.slot(operation.account_id or ""):
        return await _count(resources, operation, most)


async def _count(resources: Resources, operation: Operation, most: int) -> Operation:
    kind, clock = KINDS[operation.what], asyncio.get_running_loop().time
    counted, first, ends_at = 0, list[dict[str, str]](), clock() + COUNT_SECONDS
    async with resources.database.autocommit() as tx:
        cannot = Counter(await kind.count_others(tx, operation))
    at, more = operation, True
    while more and counted <= most and clock() < ends_at:
        async with resources.database.autocommit() as tx:
            chunk = await kind.read(tx, at, SCANNED)
        counted += len(chunk.items)
        cannot.update(chunk.cannot)
        first += [{"id": item.id, "state": item.word} for item in chunk.items[: FIRST - len(first)]]
        at, more = replace(at, position=chunk.rest), chunk.rest is not None
    return replace(operation, count=counted, count_exact=not more, cannot=dict(cannot), first=first)


async def _account_id(resources: Resources, request: OperationRequest) -> str | None:
    """The account that an operation is about: the one that is named, or the named subscriber's.
    None: every account. Invalid if there is none of these, or the subscriber is another's; Conflict
    for a replay to one that is disabled."""
    account_id = None
    if request.account is not None:
        account_id = await authenticate.account_id_by_name(resources, request.account)
        if account_id is None:
            rule = "filter/account is not the name of an account"
            raise Invalid([FieldError("/filter/account", "unknown_account", rule)])
    subscriber_id = request.filter.get("subscriber_id")
    if subscriber_id is None:
        return account_id
    async with resources.database.autocommit() as tx:
        owner = await owners.owning_account(tx, "subscriber_id", subscriber_id)
        if owner is not None and request.what is OperationKind.REPLAY:
            sendable(await subscribers.get(tx, owner[0], subscriber_id), owner[0])
    if owner is None or account_id not in {None, owner[0]}:
        rule = "filter/subscriber_id is not the id of a subscriber, or not of one of this account"
        raise Invalid([FieldError("/filter/subscriber_id", "unknown_subscriber", rule)])
    return owner[0]
