"""The action log: written in the transaction of what was done, so that neither is there without the
other."""

import os
import pwd
import socket
from dataclasses import asdict
from typing import Any

from service.accounts.domain.action import Action
from service.accounts.domain.actor import Actor, ActorKind
from service.accounts.store import actions
from service.accounts.store.actions import ActionFilter, ActionRecord
from service.kit.database.connection import Connection
from service.kit.timestamps import format_rfc3339
from service.resources import Resources


def command_line() -> Actor:
    """Whoever runs this process from a command line: the user and the host."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, a user need not have a name
        name = str(os.getuid())
    return Actor(ActorKind.COMMAND, name, socket.gethostname())


async def record(tx: Connection, resources: Resources, actor: Actor | None, action: Action) -> None:
    """Write what was done to the action log, in this transaction. Nothing is written without an
    actor: then it is a caller's own business, or a worker's."""
    if actor is None:
        return
    now = resources.clock()
    await actions.add(tx, resources.new_id(actions.PREFIX, now), now, actor, action)


async def record_alone(resources: Resources, actor: Actor | None, action: Action) -> None:
    """Write what is about to be done, or shown, where that has no one transaction."""
    if actor is not None:
        async with resources.database.autocommit() as tx:
            await record(tx, resources, actor, action)


async def page(
    resources: Resources, criteria: ActionFilter, limit: int
) -> tuple[list[ActionRecord], str | None]:
    """A page of the action log, newest first, and the cursor of the next page; None at the end."""
    async with resources.database.autocommit() as tx:
        return await actions.page(tx, criteria, limit)


def as_json(entry: ActionRecord) -> dict[str, Any]:
    """An entry of the action log as operators see it."""
    return asdict(entry) | {"at": format_rfc3339(entry.at)}
