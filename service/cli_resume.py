"""The command by which a restored database goes on."""

import argparse
import sys
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from service.accounts.domain.actor import Actor
from service.accounts.steps import api_keys
from service.accounts.steps.action_log import command_line
from service.installation.steps import resume as steps
from service.installation.steps.erased_before import erase_before_telling
from service.installation.steps.look_ups import look_up_everything
from service.installation.steps.unknown_tasks import unknown_tasks
from service.kit.errors import FieldError, Invalid
from service.kit.log_files import ids_of_lines
from service.kit.timestamps import format_rfc3339
from service.resources import Resources

QUESTION = "This database is the original, and nobody else works on another of it? [y/N] "


async def resume(resources: Resources, given: argparse.Namespace) -> int:
    """Let a restored database go on. On standard output is nothing but the provider's tasks that it
    does not know, one a line; what was done is told on standard error."""
    _check_readable(given.erasures)
    if given.moved and not _is_confirmed(given):  # a copy must never be taken for the original
        return 2
    found = await steps.begin(resources, moved=bool(given.moved), restored=bool(given.restored))
    _tell(f"held since {format_rfc3339(found.held_since)}: {found.held_reason}")
    await steps.wait_until_settled(resources, found)
    actor = command_line()
    for name in given.erasures or ():
        await _do_again(resources, name, actor)
    due = await look_up_everything(resources, found)
    _tell(
        f"{due.may_have_been_sent} subjects may have been submitted in the lost time; the provider "
        f"is asked about {due.asked_about} before any is submitted; {due.put_off} deadlines are "
        "put off until then"
    )
    if given.skip_list:
        _tell("the provider's list was not read: see `callsheet audit --against-provider`")
    else:
        # What was not found out may have gone on for a while: then the last moment says nothing, as
        # that of a clock which was ahead.
        moment = found.last_moment
        says = not given.restored and moment is not None and moment <= resources.clock()
        await _list_unknown_tasks(resources, moment if says else None)
    done = await steps.finish(resources, found, due, actor)
    _tell(f"resumed at {format_rfc3339(done.moment)}; earlier cursors of feeds are answered 410")
    return 0


async def _do_again(resources: Resources, name: str, actor: Actor) -> None:
    """Revoke and erase again what a log file says was revoked and erased."""
    keys = _ids(name, "key_revoked", "key")
    revoked, before, unknown = await api_keys.revoke_again(resources, keys, actor)
    _tell(f"{name}: {revoked} keys revoked, {before} were so, {unknown} are unknown")
    erased = await erase_before_telling(resources, _ids(name, "subject_erased", "subject"), actor)
    _tell(
        f"{name}: {len(erased.now)} subjects erased, {len(erased.before)} were so, "
        f"{len(erased.unknown)} are unknown"
    )


def _ids(name: str, action: str, member: str) -> list[str]:
    """The ids that lines of this action have in the file, each once."""
    with Path(name).open("rb") as file:
        return list(dict.fromkeys(ids_of_lines(file, action, member)))


async def _list_unknown_tasks(resources: Resources, since: datetime | None) -> None:
    count = 0
    async for id_, report in unknown_tasks(resources, since):
        made = format_rfc3339(report.created_at) or "-"
        print(report.provider_task_id, id_, report.status or "unknown", made)
        count += 1
    _tell(f"{count} tasks of the provider are unknown here")


def _check_readable(names: list[str] | None) -> None:
    for name in names or ():
        reason = _unreadable(Path(name))
        if reason is not None:
            rule = f"erasures cannot be read: {reason}"
            raise Invalid([FieldError("/erasures", "unreadable", rule)])


def _unreadable(file: Path) -> str | None:
    """Why the file cannot be read; None: it can. A pipe, as of `<(zcat …)`, is no file: it is empty
    for whoever reads it again."""
    try:
        if not S_ISREG(file.stat().st_mode):
            return "it is no regular file, and is read twice"
        file.open("rb").close()
    except OSError as error:
        return error.strerror
    return None


def _is_confirmed(given: argparse.Namespace) -> bool:
    """Whether to go on: by --yes, or by an answer at a terminal."""
    if given.yes:
        return True
    if not sys.stdin.isatty():
        _tell("nothing was done: without a terminal it needs --yes")
        return False
    print(QUESTION, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
