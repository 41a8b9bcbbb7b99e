"""Holds in tests: an operator makes and releases them."""

from service.operations.domain.hold import Hold
from service.operations.steps import holds
from service.resources import Resources


async def hold(resources: Resources, what: str, **fields: object) -> Hold:
    """A hold that is in force; `fields` are those of the body beside `what` and `reason`."""
    body = {"what": what, "reason": "maintenance", **fields}
    return await holds.create(resources, body, None)


async def release(resources: Resources, made: Hold) -> None:
    await holds.release(resources, made.id, None)
