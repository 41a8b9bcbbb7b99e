"""The commands that erase subjects, and that do erasures and revocations again after a restore."""

import argparse
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.accounts.steps import api_keys
from service.accounts.steps.action_log import command_line
from service.erasure.steps.erase_many import Progress, erase_matching, erase_named
from service.kit.errors import FieldError, Invalid
from service.kit.log_files import ids_of_lines
from service.resources import Resources


async def erase(resources: Resources, given: argparse.Namespace) -> int:
    """Erase what was chosen: exit 0 also where some are left, as they are not finished."""
    chosen = given.account is not None or given.tag is not None
    if chosen == (given.file is not None):
        rule = "choose what is erased: --account, --tag or both; or --from alone"
        raise Invalid([FieldError("/account", "required", rule)])
    dry_run, provider = bool(given.dry_run), bool(given.provider)
    if given.file is None:
        steps = erase_matching(
            resources,
            account=given.account,
            tag=given.tag,
            actor=command_line(),
            dry_run=dry_run,
            provider=provider,
        )
        total, unfinished = await _report(steps)
    elif dry_run:
        raise Invalid([FieldError("/dry_run", "dry_run", "dry-run does not go with --from")])
    else:
        with _opened(given.file) as file:
            ids = ids_of_lines(file, "subject_erased", "subject")
            steps = erase_named(resources, ids, command_line(), provider=provider)
            total, unfinished = await _report(steps)
    done = "would be erased" if dry_run else "erased"
    print(
        f"{total.erased} {done}, {total.before} erased before, {unfinished} not finished"
        + (f", {total.unknown} unknown" if given.file else "")
        + (f", {total.pending} pending at the provider" if provider and not dry_run else "")
    )
    return 0


async def _report(steps: AsyncIterator[Progress]) -> tuple[Progress, int]:
    """Print each subject that is not finished, as it is met; the numbers of all, and of those."""
    total, unfinished = Progress(), 0
    async for progress in steps:
        total += progress
        unfinished += len(progress.unfinished)
        for id_, state in progress.unfinished:
            print(id_, state.value)
    return total, unfinished


async def revoke_from(resources: Resources, file_name: str) -> int:
    """Revoke each key again that a log file says was revoked."""
    with _opened(file_name) as file:
        ids = ids_of_lines(file, "key_revoked", "key")
        revoked, before, unknown = await api_keys.revoke_again(resources, ids, command_line())
    print(f"{revoked} revoked, {before} revoked before, {unknown} unknown")
    return 0


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """A file that is read, or standard input for `-`; Invalid if it cannot be opened."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - only what opening it raises is told
    except OSError as error:
        rule = f"from cannot be read: {error.strerror}"
        raise Invalid([FieldError("/from", "unreadable", rule)]) from error
    with file:
        yield file
