"""A held intake: which requests it refuses."""

from collections.abc import Sequence
from datetime import datetime

from service.intake.domain.create_request import PendingCreate
from service.intake.steps.earlier import answer_by_earlier
from service.kit.errors import IntakeHeld
from service.operations.domain.hold import HeldAccount, HoldTarget, retry_after
from service.operations.store import holds
from service.resources import Resources


def refuse_held(
    creates: Sequence[PendingCreate], held: Sequence[HeldAccount], now: datetime
) -> list[PendingCreate]:
    """Refuse the requests of these accounts, and return the others."""
    others = []
    for create in creates:
        found = [hold for hold in held if hold.account_id in {None, create.request.account_id}]
        if found:
            create.result = IntakeHeld(retry_after(found, now))
        else:
            others.append(create)
    return others


async def refuse_large_if_held(
    resources: Resources, creates: Sequence[PendingCreate], now: datetime
) -> Sequence[PendingCreate]:
    """Refuse the requests with large images that the intake is held for, and that no earlier one
    answers; return the others. Large images are written before it is known whether the statement
    that writes their subject finds a hold: they would fill the database for nothing."""
    large = [create for create in creates if create.request.has_large_images]
    if not large:
        return creates
    async with resources.database.autocommit() as connection:
        held = [
            HeldAccount(hold.account_id, hold.until)
            for hold in await holds.in_force(connection, now)
            if hold.what is HoldTarget.INTAKE
        ]
        if not held:
            return creates
        await answer_by_earlier(connection, large, now)
    refuse_held([create for create in large if create.result is None], held, now)
    return [create for create in creates if not isinstance(create.result, IntakeHeld)]
