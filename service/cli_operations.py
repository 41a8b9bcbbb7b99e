"""What the commands do by which operators stop things and let them go on."""

import argparse
from datetime import timedelta

from service.accounts.steps import action_log
from service.kit.errors import FieldError, Invalid
from service.kit.timestamps import format_rfc3339, parse_duration, parse_rfc3339
from service.operations.domain.hold import Hold
from service.operations.steps import holds
from service.resources import Resources

MAX_HOLD = timedelta(days=366).total_seconds()  # that is given as a duration


async def hold(resources: Resources, given: argparse.Namespace) -> int:
    """Make a hold, and print its id alone on the last line."""
    body = {
        "what": given.what,
        "account": given.account,
        "reason": given.reason,
        "until": _until(resources, given.until),
    }
    made = await holds.create(resources, body, action_log.command_line())
    print(_line(made), made.id, sep="\n")
    return 0


async def release(resources: Resources, given: argparse.Namespace) -> int:
    """End a hold."""
    await holds.release(resources, given.id, action_log.command_line())
    print(f"{given.id} released")
    return 0


async def list_holds(resources: Resources, _given: argparse.Namespace) -> int:
    """Print the holds that are in force, one a line."""
    for found in await holds.list_holds(resources):
        print(found.id, _line(found))
    return 0


def _until(resources: Resources, text: str | None) -> str | None:
    """The RFC 3339 time that is meant by one, or by a duration from now."""
    if text is None or parse_rfc3339(text) is not None:
        return text
    try:
        seconds = parse_duration(text, MAX_HOLD)
    except ValueError:
        rule = "until must be an RFC 3339 time with a zone, or a time from now as 90m, 2h or 1d"
        raise Invalid([FieldError("/until", "until", rule)]) from None
    return (resources.clock() + timedelta(seconds=seconds)).isoformat()


def _line(found: Hold) -> str:
    of, until = found.account or "every account", format_rfc3339(found.until) or "it is released"
    return f"{found.what} of {of} until {until}: {found.reason}"
