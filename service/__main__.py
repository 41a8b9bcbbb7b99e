"""The command line: `callsheet …`, the same as `python -m service …`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from getpass import getpass
from pathlib import Path

import uvloop

from service import worker
from service.core.errors import CallsheetError, Invalid, Unavailable
from service.core.sources import PROVIDER
from service.core.subjects import rfc3339
from service.settings import SettingError, Settings, read_settings
from service.steps import audit, keys, reseal, revisit, secrets
from service.steps.resources import Resources
from service.store.migrate import migrate
from service.web import server
from service.wiring import open_resources, start_logging, warn_of_strangers

Command = Callable[[argparse.Namespace], int]
Step = Callable[[Resources, argparse.Namespace], Awaitable[int]]
SCOPES_WIDTH = len(",".join(keys.SCOPES))
MAX_SECRET = 10_000  # bytes read of what can only be a secret


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What is wrong with the settings is said in one line."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except ModuleNotFoundError as error:
        print(f"this needs {error.name}, as requirements-local.lock lists it", file=sys.stderr)
        return 2
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    except Invalid as error:
        for one in error.findings:
            print(one.message, file=sys.stderr)
        return 2
    except Unavailable:
        print("Postgres cannot be reached, or is not ready for this", file=sys.stderr)
        return 1
    except CallsheetError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("callsheet", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, meaning: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=meaning, description=meaning)
        made.set_defaults(run=run)
        return made

    dev = command("dev", _dev, "run everything in one terminal, data kept in .data/")
    dev.add_argument("--data", type=Path, default=Path(".data"))
    dev.add_argument("--port", type=int, default=8000)
    command("demo", _demo, "one full story on data of its own, then exit")
    command("web", _web, "serve callers and the provider's callbacks")
    command("worker", _worker, "submit, ask and deliver")
    command("migrate", _migrate, "bring the tables up to date")
    simulator = command("simulator", _simulator, "a stand-in for the provider")
    simulator.add_argument("--host", default="127.0.0.1")
    simulator.add_argument("--port", type=int, default=8100)
    simulator.add_argument("--api-key", required=True)
    simulator.add_argument("--webhook-secret")
    simulator.add_argument("--access-key")
    simulator.add_argument("--secret-key")
    simulator.add_argument("--data", type=Path)
    _keys_parser(command("keys", _keys_list, "what callers are known by"))
    _secrets_parser(command("secrets", _secrets_list, "what callbacks are verified with"))
    command("reseal", _reseal, "after a change of SECRET_KEY: seal all secrets under the new one")
    command("audit", _audit, "look for broken promises: exit 0, or 1 with the violations")
    return parser


def _keys_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key, and show it this once")
    create.add_argument("--account", required=True, help="made if there is none of this name")
    create.add_argument("--scopes", default=",".join(keys.DEFAULT_SCOPES))
    create.add_argument("--expires-in", help="as 90d or 12h; left out: it does not expire")
    create.add_argument("--pair", action="store_true", help="an access key and a secret key")
    create.set_defaults(run=_keys_create)
    shown = actions.add_parser("list", help="all there are and were, by what they begin with")
    shown.add_argument("--account")
    shown.set_defaults(run=_keys_list)
    revoke = actions.add_parser("revoke", help="a key opens nothing any more, at once")
    revoke.add_argument("id")
    revoke.set_defaults(run=_keys_revoke)


def _secrets_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser(
        "add", help="put a secret in force, and verify again what was rejected"
    )
    add.add_argument("--source", default=PROVIDER)
    add.add_argument("secret", nargs="?", help="left out, or -: read from standard input")
    add.set_defaults(run=_secrets_add)
    actions.add_parser("list", help="by their fingerprints").set_defaults(run=_secrets_list)
    remove = actions.add_parser("remove", help="put a secret out of force")
    remove.add_argument("id")
    remove.set_defaults(run=_secrets_remove)


def _settings() -> Settings:
    settings = read_settings(os.environ)
    start_logging(settings.log_level)
    warn_of_strangers(os.environ)
    return settings


def _with_resources(step: Step) -> Command:
    """The command that runs this step."""

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
    settings = _settings()

    async def run() -> int:
        return 0 if await server.run(settings, worker.stop_on_signals()) else 1

    return _in_loop(run())


def _worker(_given: argparse.Namespace) -> int:
    settings = _settings()

    async def run() -> int:
        await worker.run(settings, worker.stop_on_signals())
        return 0

    return _in_loop(run())


def _migrate(_given: argparse.Namespace) -> int:
    migrate(_settings().database_url)
    return 0


@_with_resources
async def _keys_create(resources: Resources, given: argparse.Namespace) -> int:
    scopes = [scope.strip() for scope in given.scopes.split(",") if scope.strip()]
    if given.pair:
        pair = await keys.create_pair(resources, given.account, scopes, given.expires_in)
        print(pair.access_key, pair.secret_key, sep="\n")
    else:
        print(await keys.create(resources, given.account, scopes, given.expires_in))
    return 0


@_with_resources
async def _keys_list(resources: Resources, given: argparse.Namespace) -> int:
    found = await keys.listed(resources, given.account)
    width = max((len(one.key.account) for one in found), default=0)
    for one in found:
        print(_key_line(one, width))
    return 0


@_with_resources
async def _keys_revoke(resources: Resources, given: argparse.Namespace) -> int:
    revoked = await keys.revoke(resources, given.id)
    print(_key_line(revoked, len(revoked.key.account)))
    return 0


def _key_line(one: keys.Listed, width: int) -> str:
    """Without the key; `width` is that of the longest account's name beside it."""
    key, scopes = one.key, ",".join(one.key.scopes)
    times = (rfc3339(at) or "-" for at in (key.created_at, key.expires_at, key.last_used_at))
    created, expires, used = (f"{moment:24}" for moment in times)
    known = f"{key.id:30} {key.prefix:12} {key.account:{width}} {scopes:{SCOPES_WIDTH}}"
    return f"{known} created {created} expires {expires} used {used} {one.state}"


@_with_resources
async def _secrets_add(resources: Resources, given: argparse.Namespace) -> int:
    secret, new = await secrets.add(resources, given.source, _secret(given.secret))
    print(_line(secret), "added" if new else "was there already")
    number, taken = await revisit.reverify_all(resources, given.source)
    print(f"{number} rejected callbacks were verified again, {taken} taken")
    return 0


def _secret(given: str | None) -> str:
    """As it was given; else from standard input, so that no history and no process list has it."""
    if given not in {None, "-"}:
        return str(given)
    if sys.stdin.isatty():
        return getpass("secret: ").strip()
    return sys.stdin.buffer.read(MAX_SECRET).decode(errors="replace").strip()


@_with_resources
async def _secrets_list(resources: Resources, _given: argparse.Namespace) -> int:
    for one in await secrets.listed(resources):
        print(_line(one), rfc3339(one.created_at) or "-")
    return 0


@_with_resources
async def _secrets_remove(resources: Resources, given: argparse.Namespace) -> int:
    secret, last = await secrets.remove(resources, given.id)
    print(_line(secret), "removed")
    if last:
        print(_warning(secret.source), file=sys.stderr)
    return 0


def _line(secret: secrets.Listed) -> str:
    return f"{secret.id or 'settings':30} {secret.source:12} {secret.fingerprint}"


def _warning(source: str) -> str:
    now = (
        "unsigned callbacks are taken as hints, and the provider is asked"
        if source == PROVIDER
        else "all its callbacks are rejected"
    )
    return f"it was the last secret of {source}: from now on {now}"


@_with_resources
async def _reseal(resources: Resources, _given: argparse.Namespace) -> int:
    done, settings = await reseal.reseal(resources), resources.settings
    for one in done.unopened:
        print(f"no key opens {one}", file=sys.stderr)
    print(f"{done.anew} sealed anew, {len(done.unopened)} could not be opened")
    if settings.old_secret_keys and not done.unopened:
        print(
            "OLD_SECRET_KEYS are needed for callback addresses still: "
            f"until {settings.task_deadline:g} seconds (TASK_DEADLINE) "
            "after the last process with another SECRET_KEY has ended"
        )
    return 1 if done.unopened else 0


@_with_resources
async def _audit(resources: Resources, _given: argparse.Namespace) -> int:
    found = await audit.look(resources)
    for one in found:
        print(f"promise {one.promise}: {one.rule}: {one.subject}")
    print(f"{len(found)} violations")
    return 1 if found else 0


# The local tools need packages that production does not install, so they are imported when asked.


def _dev(given: argparse.Namespace) -> int:
    from service.local import dev  # noqa: PLC0415

    return dev.run(given.data, given.port)


def _demo(_given: argparse.Namespace) -> int:
    from service.local import demo  # noqa: PLC0415

    return demo.run()


def _simulator(given: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
