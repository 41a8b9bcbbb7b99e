"""The arguments of the commands by which operators stop things, look, and see who did what: `hold`,
`release`, `holds`, `prune`, `audit`, `actions` and `usage`. What they do: cli_operations.py."""

import argparse
from collections.abc import Callable
from datetime import datetime, timedelta

from service.accounts.domain.action import ActionKind
from service.kit.timestamps import parse_duration, parse_rfc3339
from service.operations.domain.hold import HoldTarget

# Adds a command: its name, one sentence without its dot, and an example that works as it stands.
Add = Callable[[str, str, str], argparse.ArgumentParser]

MAX_AGE = 3660 * 86_400.0  # seconds: ten years


def add_holds_commands(command: Add) -> None:
    """Add `hold`, `release` and `holds`."""
    hold = command(
        "hold",
        "Stop the intake, submissions or deliveries, and print the hold's id on the last line",
        "callsheet hold submissions --reason 'a new pack' --until 2h",
    )
    hold.add_argument(
        "what", choices=[target.value for target in HoldTarget], help="what is stopped"
    )
    hold.add_argument("--reason", required=True, help="why, for other operators")
    hold.add_argument(
        "--account", help="the only account for which it is stopped; left out: for all"
    )
    hold.add_argument(
        "--until",
        help="when it ends by itself, as 2026-12-01T06:00:00Z, or 90m, 2h or 1d from now; left "
        "out: when it is released",
    )
    release = command(
        "release",
        "End a hold, so that what it stopped goes on at once",
        "callsheet release hld_01ka2v6r3n8x5q9w7e4t1y0z2m",
    )
    release.add_argument("id", help="the hold's id, as `callsheet holds` shows it")
    command("holds", "List the holds that are in force, the oldest first", "callsheet holds")


def add_audit_command(command: Add) -> None:
    """Add `audit`."""
    audit = command(
        "audit",
        "Look for broken promises in the database: exit 0 if none, 1 if any, 2 if it cannot look",
        "callsheet audit --since 7d --json",
    )
    audit.add_argument(
        "--since",
        type=_since,
        help="how long ago, as 90m or 7d, or a time: look only at subjects that have an event "
        "since then, and at all that waits; left out: at everything",
    )
    audit.add_argument(
        "--against-provider",
        action="store_true",
        default=None,
        help="also hold the provider's list of tasks, and look-ups, against our subjects",
    )
    audit.add_argument(
        "--json", action="store_true", default=None, help="print one JSON object in place of lines"
    )


def add_actions_command(command: Add) -> None:
    """Add `actions`."""
    actions = command(
        "actions",
        "List who did what, by hand or with an operator's key, the newest first",
        "callsheet actions --since 30d --action key_revoked",
    )
    actions.add_argument(
        "--since",
        type=_since,
        default="7d",
        help="how long ago, as 90m or 7d, or a time, since when it was done (default: %(default)s)",
    )
    actions.add_argument("--account", help="the account that it is about; left out: any, or none")
    actions.add_argument(
        "--action",
        choices=[kind.value for kind in ActionKind],
        metavar="ACTION",
        help=f"what was done: one of {', '.join(ActionKind)}; left out: anything",
    )
    actions.add_argument("--object", help="the id of what it was done to; left out: anything")
    actions.add_argument(
        "--json",
        action="store_true",
        default=None,
        help="print a JSON object a line, with all of it",
    )


def add_prune_command(command: Add) -> None:
    """Add `prune`."""
    prune = command(
        "prune",
        "Delete what is older than the settings say it is kept, and print how much that was",
        "callsheet prune --dry-run",
    )
    prune.add_argument(
        "--dry-run",
        action="store_true",
        default=None,
        help="print how much would be deleted, and delete nothing",
    )


def add_usage_command(command: Add) -> None:
    """Add `usage`."""
    usage = command(
        "usage",
        "Say what became of requests, day by day, and what the provider deducted for them",
        "callsheet usage --from 2026-11-01 --to 2026-12-01 --csv",
    )
    usage.add_argument(
        "--from",
        dest="first",
        metavar="DAY",
        help="the first day, in UTC; left out: 30 days before the end",
    )
    usage.add_argument(
        "--to", dest="end", metavar="DAY", help="the day after the last; left out: tomorrow"
    )
    usage.add_argument("--account", help="the only account; left out: all")
    how = usage.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", default=None, help="print CSV in place of lines")
    how.add_argument(
        "--reconcile",
        action="store_true",
        default=None,
        help="hold the provider's own list against it, task by task: exit 0 if they are equal, 1 "
        "if not, 2 if it cannot be asked",
    )


def add_resume_command(command: Add) -> None:
    """Add `resume`."""
    resume = command(
        "resume",
        "Let a restored database go on: everything is looked up at the provider first",
        "callsheet resume --erasures web.log --erasures worker.log",
    )
    resume.add_argument(
        "--erasures",
        action="append",
        metavar="FILE",
        help="a log file, as old as the backup at least: what it says was erased and revoked is "
        "erased and revoked again, before anybody is told of anything; may be given again",
    )
    resume.add_argument(
        "--restored",
        action="store_true",
        default=None,
        help="it was restored though no process has found that out: hold everything first",
    )
    resume.add_argument(
        "--moved",
        action="store_true",
        default=None,
        help="this is the original, and its CALLSHEET_PUBLIC_URL has changed: asks whether it is, "
        "and without a terminal needs --yes",
    )
    resume.add_argument(
        "--skip-list",
        action="store_true",
        default=None,
        help="go on although the provider's list cannot be read; no task is listed then",
    )
    resume.add_argument(
        "--yes", action="store_true", default=None, help="answer what --moved asks with yes"
    )


def add_adopt_command(command: Add) -> None:
    """Add `adopt`."""
    adopt = command(
        "adopt",
        "Make a copy of a database this installation's own: what it brought along is ended",
        "callsheet adopt --revoke-keys",
    )
    adopt.add_argument(
        "--revoke-keys",
        action="store_true",
        default=None,
        help="also revoke all API keys, and remove the webhook secrets that were added",
    )
    adopt.add_argument(
        "--yes", action="store_true", default=None, help="ask nothing, as it does not anyway"
    )


def _since(given: str) -> datetime | timedelta:
    """A time, or how long ago it was."""
    moment = parse_rfc3339(given)
    if moment is not None:
        return moment
    try:
        return timedelta(seconds=parse_duration(given, MAX_AGE))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither how long ago, as 90m or 7d, nor a time with its zone, as "
            "2026-01-02T03:04:05Z"
        ) from None
