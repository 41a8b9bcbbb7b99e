"""What each command of the command line does."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from getpass import getpass
from typing import Any

import uvloop

from service import cli_callers, cli_erasure, cli_operations, cli_resume
from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.accounts.steps.action_log import command_line
from service.callbacks.domain.sources import PROVIDER
from service.callbacks.steps import reverify, webhook_secrets
from service.event_feed.steps.transaction_ids import rebase_transaction_ids
from service.kit.database.errors import failure_reason
from service.kit.database.migrate import migrate
from service.kit.errors import CallsheetError, FieldError, Invalid, Unavailable
from service.kit.timestamps import format_rfc3339
from service.logs import start_logging, warn_of_unknown_variables
from service.operations.steps import reencrypt
from service.resources import Resources
from service.settings import SettingError, Settings, read_settings
from service.wiring import open_resources

Command = Callable[[argparse.Namespace], int]
Step = Callable[[Resources, argparse.Namespace], Awaitable[int]]
SCOPES_WIDTH = len(",".join(SCOPES))
MAX_SECRET = 10_000  # bytes read from standard input
PACKAGES = {"PIL": "pillow"}  # packages that are imported under another name
LISTS = {"opentelemetry": "requirements-tracing.lock"}  # what the local lock does not list


def run(given: argparse.Namespace) -> int:
    """Run one command and return its exit code. A setting that is missing or wrong is reported in
    one line."""
    try:
        return COMMANDS[given.command](given)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        needed, listed = PACKAGES.get(name, name), LISTS.get(name, "requirements-local.lock")
        print(f"This needs {needed}, as {listed} lists it.", file=sys.stderr)
        return 2
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    except Invalid as error:
        for field_error in error.errors:
            print(field_error.message, file=sys.stderr)
        return 2
    except Unavailable as error:
        print(failure_reason(error, read_settings(os.environ).database_url), file=sys.stderr)
        return 1
    except CallsheetError as error:
        print(error, file=sys.stderr)
        return 1


def _settings() -> Settings:
    settings = read_settings(os.environ)
    start_logging(settings.log_level, settings.log_format)
    warn_of_unknown_variables(os.environ)
    return settings


def _with_resources(step: Step) -> Command:
    """The command that runs a step with resources that are open meanwhile."""

    def command(given: argparse.Namespace) -> int:
        async def run() -> int:
            async with open_resources(_settings()) as resources:
                return await step(resources, given)

        return _in_loop(run())

    return command


def _in_loop(work: Coroutine[None, None, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _web(_given: argparse.Namespace) -> int:
    from service import server, worker  # noqa: PLC0415 - a quarter of the time of other commands

    settings = _settings()

    async def run() -> int:
        return 0 if await server.run(settings, worker.stop_on_signals()) else 1

    with _tracing(settings):
        return _in_loop(run())


def _worker(_given: argparse.Namespace) -> int:
    from service import worker  # noqa: PLC0415 - see _web

    settings = _settings()

    async def run() -> int:
        await worker.run(settings, worker.stop_on_signals())
        return 0

    with _tracing(settings):
        return _in_loop(run())


@contextmanager
def _tracing(settings: Settings) -> Iterator[None]:
    """Make and send spans meanwhile, if the setting TRACING says so."""
    if not settings.tracing:
        yield
        return
    from service.kit import opentelemetry_spans  # noqa: PLC0415 - an extra

    provider = opentelemetry_spans.start_tracing()
    try:
        yield
    finally:
        opentelemetry_spans.stop_tracing(provider)


def _migrate(_given: argparse.Namespace) -> int:
    settings = _settings()
    revision = migrate(settings.database_url)
    print(f"The database is up to date ({revision}).")

    async def rebase() -> int:
        async with open_resources(settings) as resources:
            if await rebase_transaction_ids(resources.database):
                print("It came from another Postgres: feeds go on in this one.")
        return 0

    return _in_loop(rebase())


@_with_resources
async def _keys_create(resources: Resources, given: argparse.Namespace) -> int:
    scopes = [scope.strip() for scope in given.scopes.split(",") if scope.strip()]
    key_id = resources.new_id("key")
    key_options = (given.account, scopes, given.expires_in, key_id)
    by: dict[str, Any] = {"name": given.name, "actor": command_line()}
    if given.pair:
        pair = await api_keys.create_pair(resources, *key_options, **by)
        made = [pair.access_key, pair.secret_key]
    else:
        made = [await api_keys.create(resources, *key_options, **by)]
    print(f"id  {key_id}", *made, sep="\n")
    return 0


@_with_resources
async def _keys_list(resources: Resources, given: argparse.Namespace) -> int:
    views = await api_keys.list_keys(resources, given.account)
    width = max((len(view.key.account_name) for view in views), default=0)
    for view in views:
        print(_key_line(view, width))
    return 0


@_with_resources
async def _keys_revoke(resources: Resources, given: argparse.Namespace) -> int:
    if given.file is not None:
        return await cli_erasure.revoke_from(resources, given.file)
    revoked = await api_keys.revoke(resources, given.id, actor=command_line())
    print(_key_line(revoked, len(revoked.key.account_name)))
    return 0


def _key_line(view: api_keys.ApiKeyView, width: int) -> str:
    """A line about an API key, without the key; `width` is that of the longest account name in the
    list."""
    key, scopes = view.key, ",".join(view.key.scopes)
    times = (format_rfc3339(at) or "-" for at in (key.created_at, key.expires_at, key.last_used_at))
    created, expires, used = (f"{moment:24}" for moment in times)
    known = f"{key.id:30} {key.prefix:12} {key.account_name:{width}} {scopes:{SCOPES_WIDTH}}"
    line = f"{known} created {created} expires {expires} used {used} {view.state}"
    return line if key.name is None else f"{line} {key.name}"


@_with_resources
async def _secrets_add(resources: Resources, given: argparse.Namespace) -> int:
    secret, new = await webhook_secrets.add(
        resources, given.source, _secret(given.secret), actor=command_line()
    )
    print(_secret_line(secret), "added" if new else "was there already")
    number, taken = await reverify.reverify_all(resources, given.source)
    print(f"{number} rejected callbacks were verified again, {taken} of them were accepted.")
    return 0


def _secret(given: str | None) -> str:
    """The secret that was given; without one, or for `-`, it is read from standard input, so that
    no shell history and no list of processes has it."""
    if given not in {None, "-"}:
        return str(given)
    if sys.stdin.isatty():
        return getpass("secret: ").strip()
    read = sys.stdin.buffer.read(MAX_SECRET).decode(errors="replace").strip()
    if not read:
        raise Invalid(
            [FieldError("/secret", "secret", "secret is required: standard input was empty")]
        )
    return read


@_with_resources
async def _secrets_list(resources: Resources, _given: argparse.Namespace) -> int:
    for secret in await webhook_secrets.list_secrets(resources):
        print(_secret_line(secret), format_rfc3339(secret.created_at) or "-")
    return 0


@_with_resources
async def _secrets_remove(resources: Resources, given: argparse.Namespace) -> int:
    secret, last = await webhook_secrets.remove(resources, given.id, actor=command_line())
    print(_secret_line(secret), "removed")
    if last:
        print(_warning(secret.source), file=sys.stderr)
    return 0


def _secret_line(secret: webhook_secrets.SecretView) -> str:
    return f"{secret.id or 'settings':30} {secret.source:12} {secret.fingerprint}"


def _warning(source: str) -> str:
    now = (
        "unsigned callbacks are taken as hints, and the provider is asked"
        if source == PROVIDER
        else "all its callbacks are rejected"
    )
    return f"It was the last secret of {source}: from now on {now}."


@_with_resources
async def _reencrypt(resources: Resources, _given: argparse.Namespace) -> int:
    report = await reencrypt.reencrypt(resources, actor=command_line())
    settings = resources.settings
    for column_and_row in report.undecryptable:
        print(f"No key decrypts the {column_and_row}.", file=sys.stderr)
    undecryptable = len(report.undecryptable)
    print(
        f"{report.reencrypted} values were encrypted anew, {undecryptable} could not be decrypted."
    )
    if settings.previous_secret_keys and not report.undecryptable:
        print(
            "Callback addresses still need PREVIOUS_SECRET_KEYS. Keep them until "
            f"{settings.task_deadline:g} seconds (TASK_DEADLINE) have passed "
            "since the last process with another SECRET_KEY ended."
        )
    return 1 if report.undecryptable else 0


# The local tools need packages that production does not install, so they are imported late.


def _dev(given: argparse.Namespace) -> int:
    from service.local import dev, dev_story  # noqa: PLC0415

    if given.story is not None:
        return dev_story.run(given.story)
    return dev.run(given.data, given.port)


def _demo(_given: argparse.Namespace) -> int:
    from service.local import demo  # noqa: PLC0415

    return demo.run()


def _simulator(given: argparse.Namespace) -> int:
    if bool(given.access_key) != bool(given.secret_key):
        raise SettingError("--access-key and --secret-key go together: give both, or neither")
    from service.local import simulator  # noqa: PLC0415

    return simulator.run(
        given.host,
        given.port,
        given.api_key,
        given.webhook_secret,
        given.data,
        access_key=given.access_key,
        secret_key=given.secret_key,
    )


COMMANDS: Mapping[str, Command] = {
    "dev": _dev,
    "demo": _demo,
    "web": _web,
    "worker": _worker,
    "migrate": _migrate,
    "simulator": _simulator,
    "story": cli_callers.story,
    "keys create": _keys_create,
    "keys list": _keys_list,
    "keys revoke": _keys_revoke,
    "secrets add": _secrets_add,
    "secrets list": _secrets_list,
    "secrets remove": _secrets_remove,
    "hold": _with_resources(cli_operations.hold),
    "release": _with_resources(cli_operations.release),
    "holds": _with_resources(cli_operations.list_holds),
    "actions": _with_resources(cli_operations.list_actions),
    "usage": _with_resources(cli_operations.show_usage),
    "erase": _with_resources(cli_erasure.erase),
    "reencrypt": _reencrypt,
    "prune": _with_resources(cli_operations.prune),
    "resume": _with_resources(cli_resume.resume),
    "adopt": _with_resources(cli_operations.adopt_copy),
    "audit": _with_resources(cli_operations.look_for_violations),
}
