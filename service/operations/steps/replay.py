"""Replays that an account asks for itself: a bulk operation like others; a small one is done at
once, by the same steps."""

from dataclasses import dataclass, replace

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.delivery.steps.replay import sendable, validate_replay
from service.kit.errors import Conflict
from service.operations.domain.operation import OperationKind, shown_filter
from service.operations.steps import make_operation, run_operation
from service.operations.steps.operation_rules import OperationRequest
from service.operations.store import operations
from service.operations.store.operations import ClaimedStep, Operation
from service.resources import Resources, end_of_lease
from service.subscribers.store import subscribers

log = structlog.get_logger()

AT_ONCE = 1000  # deliveries that a request sends itself
MAX_RUNNING = 10  # replays of one account at once, beyond which it starts no other


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How many deliveries a replay has sent, or would send."""

    count: int  # deliveries that were made, or begin their schedule again; or will
    operation: Operation  # which does it; not written, for a dry run
    dry_run: bool = False  # whether they were only counted


async def replay_events(
    resources: Resources, account_id: str, actor: Actor | None, subscriber_id: str, body: object
) -> ReplayResult:
    """Send a subscriber of this account the events that the JSON body asks for and that are
    not on their way to it.

    Invalid with every error in the body; NotFound; Conflict if the subscriber is disabled, or too
    many replays of the account are running.
    """
    now = resources.clock()
    request = validate_replay(body, now)
    async with resources.database.autocommit() as tx:
        sendable(await subscribers.get(tx, account_id, subscriber_id), account_id)
    window = {"since": request.since.isoformat(), "until": min(request.until, now).isoformat()}
    asked = OperationRequest(
        what=OperationKind.REPLAY,
        account=None,
        filter={"subscriber_id": subscriber_id, "only": request.only.value, **window},
        cut_off=now,
        rate=None,
        dry_run=request.dry_run,
    )
    new = make_operation.new_operation(resources, asked, account_id)
    counted = await make_operation.count(resources, new)
    if request.dry_run:
        return ReplayResult(counted.count, counted, dry_run=True)
    if counted.count_exact and counted.count <= AT_ONCE:
        return await _at_once(resources, actor, counted)
    return await _in_background(resources, actor, counted)


async def _at_once(resources: Resources, actor: Actor | None, counted: Operation) -> ReplayResult:
    """Do it under a lease: if this process is cut off, a worker goes on with it."""
    now = resources.clock()
    claimed = ClaimedStep(counted.id, resources.new_id("lse"), now)
    leased = replace(
        counted, lease_token=claimed.lease_token, next_step_at=end_of_lease(resources, now)
    )
    async with resources.database.transaction() as tx:
        await operations.add(tx, leased)
        await action_log.record(tx, resources, actor, _replayed(leased))
    log.info("operation", action="operation_started", **run_operation.log_fields(leased))
    await run_operation.run_at_once(resources, claimed)
    async with resources.database.autocommit() as tx:
        ended = await operations.get(tx, counted.id) or leased
    return ReplayResult(ended.done, ended)


async def _in_background(
    resources: Resources, actor: Actor | None, counted: Operation
) -> ReplayResult:
    async with resources.database.transaction() as tx:
        if await operations.count_running_replays(tx, str(counted.account_id)) >= MAX_RUNNING:
            message = f"{MAX_RUNNING} replays of this account are running: let one end first."
            raise Conflict(message, "operations_running")
        await make_operation.start(tx, counted)
        await action_log.record(tx, resources, actor, _replayed(counted))
    log.info("operation", action="operation_started", **run_operation.log_fields(counted))
    return ReplayResult(counted.count, counted)


def _replayed(operation: Operation) -> Action:
    """What the action log says of it: done to the subscriber, by this operation."""
    given = shown_filter(operation.filter)
    after = {
        "operation": operation.id,
        "count": operation.count,
        **{name: given[name] for name in ("since", "until", "only")},
    }
    kind = ActionKind.EVENTS_REPLAYED
    return Action(kind, operation.filter["subscriber_id"], operation.account_id, after=after)
