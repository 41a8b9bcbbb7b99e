"""Reads and stops bulk operations. An account sees the replays of its own subscribers, an operator
all of them."""

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.kit.errors import NotFound
from service.operations.domain.operation import OperationKind, OperationState, StopReason
from service.operations.steps.run_operation import log_fields, stopped_operation
from service.operations.store import operations
from service.operations.store.operations import Operation, OperationList
from service.resources import Resources

log = structlog.get_logger()


async def list_operations(
    resources: Resources, criteria: OperationList, limit: int
) -> tuple[list[Operation], str | None]:
    """At most `limit` operations, the newest first, and the id that the next page begins after;
    None at the end."""
    async with resources.database.autocommit() as tx:
        return await operations.page(tx, criteria, limit)


async def get(resources: Resources, account_id: str | None, operation_id: str) -> Operation:
    """An operation that this account (None: an operator) may see; else NotFound."""
    async with resources.database.autocommit() as tx:
        return _visible(await operations.get(tx, operation_id), account_id)


async def stop(
    resources: Resources, actor: Actor | None, account_id: str | None, operation_id: str
) -> Operation:
    """Stop an operation, and return it: nothing more is done, but what was done stays done. One
    that has ended stays as it is. NotFound as for `get`."""
    async with resources.database.transaction() as tx:
        operation = _visible(await operations.lock(tx, operation_id), account_id)
        if operation.state is not OperationState.RUNNING:
            return operation
        stopped = stopped_operation(operation, StopReason.ASKED, resources.clock())
        await operations.save(tx, stopped)
        done = {"state": stopped.state.value, "done": stopped.done}
        action = Action(
            ActionKind.OPERATION_STOPPED,
            stopped.id,
            stopped.account_id,
            before={"state": operation.state.value},
            after=done,
        )
        await action_log.record(tx, resources, actor, action)
    log.info("operation", action="operation_stopped", **log_fields(stopped))
    return stopped


def _visible(operation: Operation | None, account_id: str | None) -> Operation:
    if operation is None:
        raise NotFound
    own = operation.what is OperationKind.REPLAY and operation.account_id == account_id
    if account_id is not None and not own:
        raise NotFound
    return operation
