"""Holds: an operator stops the intake, submissions or deliveries, and lets them go on."""

from collections.abc import Mapping

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.accounts.steps.api_keys import MAX_ACCOUNT_NAME
from service.accounts.store import api_keys
from service.kit.errors import Conflict, FieldError, Invalid, NotFound
from service.kit.timestamps import format_rfc3339
from service.kit.validation import Reader, ValidationContext, one_of, read_object, text, time
from service.operations.domain.hold import Hold, HoldTarget
from service.operations.store import holds
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work

MAX_HOLDS = 100  # in force at once: every claim reads them
MAX_REASON = 500  # characters
# What workers are notified of when a hold is released.
WORK: Mapping[HoldTarget, Work] = {
    HoldTarget.SUBMISSIONS: Work.SUBMIT,
    HoldTarget.DELIVERIES: Work.DELIVER,
}


async def create(resources: Resources, body: object, actor: Actor | None) -> Hold:
    """Make a hold by a JSON body: `what`, `reason`, and if wanted `account` (its name) and `until`
    (RFC 3339, in the future). When this returns, nothing more of what it stops is begun; what was
    begun before is finished.

    Invalid with every error; Conflict if MAX_HOLDS are in force; Unavailable if a statement that
    began before takes too long.
    """
    now = resources.clock()
    fields = read_object(body, _READERS, required=("what", "reason"))
    until = fields.get("until")
    if until is not None and until <= now:
        raise Invalid([FieldError("/until", "past", "until must be in the future")])
    async with resources.database.transaction() as tx:
        account = fields.get("account")
        account_id = None if account is None else await api_keys.account_id_by_name(tx, account)
        if account is not None and account_id is None:
            raise Invalid(
                [FieldError("/account", "unknown", "account is not the name of an account")]
            )
        hold = Hold(
            id=resources.new_id("hld"),
            what=HoldTarget(fields["what"]),
            account_id=account_id,
            account=account,
            reason=fields["reason"],
            until=until,
            created_at=now,
        )
        await holds.lock(tx)
        if await holds.count(tx, now) >= MAX_HOLDS:
            message = f"{MAX_HOLDS} holds are in force, which is the limit: release one."
            raise Conflict(message, "too_many_holds")
        await holds.add(tx, hold)
        action = Action(ActionKind.HELD, hold.id, hold.account_id, after=_noted(hold))
        await action_log.record(tx, resources, actor, action)
    return hold


async def release(resources: Resources, hold_id: str, actor: Actor | None) -> None:
    """End a hold, and notify the workers of what it stopped. NotFound if none of this id is in
    force."""
    async with resources.database.transaction() as tx:
        hold = await holds.delete(tx, hold_id, resources.clock())
        if hold is None:
            raise NotFound("No hold of this id is in force.")
        if kind := WORK.get(hold.what):
            await work.notify(tx, kind)
        action = Action(ActionKind.RELEASED, hold.id, hold.account_id, before=_noted(hold))
        await action_log.record(tx, resources, actor, action)


def _noted(hold: Hold) -> dict[str, str | None]:
    """What the action log has of a hold."""
    return {"what": hold.what, "reason": hold.reason, "until": format_rfc3339(hold.until)}


async def list_holds(resources: Resources, account_id: str | None = None) -> list[Hold]:
    """The holds that are in force, the oldest first: MAX_HOLDS at most. With an account, those of
    it alone."""
    async with resources.database.autocommit() as tx:
        found = await holds.in_force(tx, resources.clock())
    return [hold for hold in found if account_id in {None, hold.account_id}]


def _what(context: ValidationContext, at: str, value: object) -> str | None:
    return one_of(context, at, value, tuple(HoldTarget))


def _account(context: ValidationContext, at: str, value: object) -> str | None:
    return _printable(context, at, value, MAX_ACCOUNT_NAME)


def _reason(context: ValidationContext, at: str, value: object) -> str | None:
    return _printable(context, at, value, MAX_REASON)


def _printable(context: ValidationContext, at: str, value: object, limit: int) -> str | None:
    before = len(context.errors)
    given = text(context, at, value, limit)
    if given is not None and not given.isprintable() and len(context.errors) == before:
        context.add_error(at, "not_printable", "must have printable characters only")
    return given


_READERS: Mapping[str, Reader] = {
    "what": _what,
    "account": _account,
    "reason": _reason,
    "until": time,
}
