"""What the commands do by which operators stop things and let them go on, look for violations,
see who did what, and what it cost."""

import argparse
import json
import sys
from dataclasses import replace
from datetime import datetime, timedelta

from service.accounts.domain.action import ActionKind
from service.accounts.steps import action_log, authenticate
from service.accounts.store.actions import ActionFilter, ActionRecord
from service.installation.steps import adopt, note_moment
from service.kit.database.errors import DRIVER_ERRORS, failure_reason
from service.kit.errors import FieldError, Invalid, Unavailable
from service.kit.text import escape_unprintable
from service.kit.timestamps import format_rfc3339, parse_duration, parse_rfc3339
from service.operations.domain.hold import Hold
from service.operations.steps import audit, audit_provider, holds
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.steps import prune as prune_steps
from service.usage.domain.report import as_csv, usage_text
from service.usage.domain.window import Window, read_window
from service.usage.steps import read as read_usage
from service.usage.steps import reconcile

COULD_NOT_LOOK = 2  # the exit code of an audit that could not be made
DIFFERENCES_SHOWN = 1000  # and as many tasks that are not ours
ACTIONS_READ = 200  # entries of the action log that are read at a time
KIND_WIDTH = max(map(len, Kind))
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


async def prune(resources: Resources, given: argparse.Namespace) -> int:
    """Prune, or count what would go, and print how many of each kind; 1 if pruning pauses."""
    if given.dry_run:
        counts, stopped = await prune_steps.count(resources), None
    else:
        await note_moment.find_out(resources)  # of a restore that no process has found
        done = await prune_steps.prune(resources, actor=action_log.command_line())
        counts, stopped = done.counts, done.stopped
    for kind in Kind:
        print(f"{kind.value:{KIND_WIDTH}}{counts.get(kind, 0):>12}")
    if stopped is not None:
        print(f"Nothing more is pruned now: {stopped}", file=sys.stderr)
    return 0 if stopped is None else 1


async def list_actions(resources: Resources, given: argparse.Namespace) -> int:
    """Print what the action log has, the newest first, one entry a line."""
    since: datetime | timedelta = given.since
    criteria = ActionFilter(
        object_id=given.object,
        account_id=await _account_id(resources, given.account),
        action=given.action and ActionKind(given.action),
        created_after=resources.clock() - since if isinstance(since, timedelta) else since,
    )
    more = True
    while more:
        found, after = await action_log.page(resources, criteria, ACTIONS_READ)
        for entry in found:
            shown = action_log.as_json(entry)
            print(json.dumps(shown, ensure_ascii=False) if given.json else _action_line(entry))
        criteria, more = replace(criteria, after=after), after is not None
    return 0


async def adopt_copy(resources: Resources, given: argparse.Namespace) -> int:
    """Make a copy this installation's own, and print what was done."""
    found = await adopt.refuse_at_home(resources)
    print(f"This is a copy of the database of {found.public_url}.")
    done = await adopt.adopt(
        resources, action_log.command_line(), revoke_keys=bool(given.revoke_keys)
    )
    print(f"{done.subscribers} subscribers paused")
    print(f"{done.canceled} queued subjects canceled")
    print(f"{done.failed} subjects that were with the provider failed as left_behind")
    print(f"{done.deliveries} pending deliveries canceled")
    print(f"{done.erasures} deletions at the provider given up")
    print(f"{done.operations} bulk operations stopped")
    if given.revoke_keys:
        print(f"{done.keys} API keys revoked, {done.secrets} webhook secrets removed")
    print(f"It is the database of {resources.home.url} now: {done.installation_id}")
    return 0


async def look_for_violations(resources: Resources, given: argparse.Namespace) -> int:
    """Audit the database, and print what is found; COULD_NOT_LOOK if it cannot be."""
    since = given.since
    if isinstance(since, timedelta):
        since = resources.clock() - since
    try:
        if given.against_provider:
            await _refuse_while_held(resources)
        report = await audit.run_audit(resources, audit.Extent(since))
        if given.against_provider:
            report += await audit_provider.compare(resources, since)
    except (Unavailable, *DRIVER_ERRORS) as error:
        return _could_not_look(resources, error)
    print(json.dumps(report.document()) if given.json else "\n".join(report.lines()))
    return 1 if report.violations else 0


async def show_usage(resources: Resources, given: argparse.Namespace) -> int:
    """Print what became of requests, day by day; with --reconcile, what the provider's list says
    otherwise: 1 if it does, COULD_NOT_LOOK if it cannot be asked."""
    window = _window(resources, given)
    if given.reconcile:
        return await _reconcile(resources, window, given.account)
    account_id = await _account_id(resources, given.account)
    report = await read_usage.read(resources, window, account_id)
    if given.csv:
        print(as_csv(report.lines, with_account=True), end="")
    else:
        print("\n".join(usage_text(report.lines, report.totals)))
    return 0


async def _reconcile(resources: Resources, window: Window, account: str | None) -> int:
    if account is not None:
        rule = "--reconcile is of all accounts: the provider's list does not tell them apart"
        raise Invalid([FieldError("/account", "reconcile", rule)])
    try:
        await _refuse_while_held(resources)
        found = await reconcile.reconcile(resources, window)
    except (Unavailable, *DRIVER_ERRORS) as error:
        return _could_not_look(resources, error)
    for line in found.lines(DIFFERENCES_SHOWN):
        print(escape_unprintable(line.encode(errors="replace")))
    return 1 if found.differences else 0


def _window(resources: Resources, given: argparse.Namespace) -> Window:
    """The days that --from and --to name. Invalid if these are none."""
    errors: list[FieldError] = []
    window = read_window(
        given.first,
        given.end,
        resources.clock().date(),
        lambda name, rule: errors.append(FieldError(f"/{name}", "window", f"{name} {rule}")),
    )
    if errors:
        raise Invalid(errors)
    return window


async def _refuse_while_held(resources: Resources) -> None:
    """Unavailable, with the reason, if this process is held: then nobody asks the provider."""
    held = await note_moment.find_out(resources)
    if held is not None:
        raise Unavailable(f"The provider is not asked while the database is held. {held.text}")


def _could_not_look(resources: Resources, error: Exception) -> int:
    url = resources.settings.database_url
    reason = failure_reason(error, url) if isinstance(error, Unavailable) else str(error)
    print(reason, file=sys.stderr)
    return COULD_NOT_LOOK


async def _account_id(resources: Resources, name: str | None) -> str | None:
    """The id of the account of this name; None for None."""
    if name is None:
        return None
    account_id = await authenticate.account_id_by_name(resources, name)
    if account_id is None:
        rule = "account is not the name of an account"
        raise Invalid([FieldError("/account", "unknown", rule)])
    return account_id


def _action_line(entry: ActionRecord) -> str:
    by, at = entry.actor, format_rfc3339(entry.at)
    named = "" if by["key_name"] is None else f" ({by['key_name']})"
    who = f"{by['key_id'] or by['kind']}{named} {by['name']}@{by['origin'] or '-'}"
    change = " -> ".join(
        json.dumps(values, ensure_ascii=False) for values in (entry.before, entry.after) if values
    )
    about = f"{entry.object_id or '-'} of {entry.account or '-'}"
    line = " ".join(filter(None, (at, who, entry.action, about, change)))
    return escape_unprintable(line.encode(errors="replace"))  # a caller's external id may be in it


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
