"""The command line: `callsheet …`, the same as `python -m service …`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path

import uvloop

from service import worker
from service.core.errors import CallsheetError, Invalid, Unavailable
from service.settings import SettingError, Settings, read_settings
from service.steps import audit, keys
from service.steps.resources import Resources
from service.store.migrate import migrate
from service.web import server
from service.wiring import open_resources, start_logging

Step = Callable[[Resources], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What is wrong with the settings is said in one line."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except ModuleNotFoundError as error:
        print(f"this needs {error.name}: pip install 'callsheet[local]'", file=sys.stderr)
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

    def command(
        name: str, run: Callable[[argparse.Namespace], int], meaning: str
    ) -> argparse.ArgumentParser:
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
    key = command("keys", _keys, "make a key for callers")
    key.add_argument("action", choices=["create"])
    key.add_argument("--account", required=True)
    key.add_argument("--scopes", default=",".join(keys.DEFAULT_SCOPES))
    command("audit", _audit, "look for broken promises: exit 0, or 1 with the violations")
    return parser


def _settings() -> Settings:
    settings = read_settings(os.environ)
    start_logging(settings.log_level)
    return settings


def _with_resources(step: Step) -> int:
    async def run() -> int:
        async with open_resources(_settings()) as resources:
            return await step(resources)

    return _in_loop(run())


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


def _keys(given: argparse.Namespace) -> int:
    async def create(resources: Resources) -> int:
        scopes = [scope.strip() for scope in given.scopes.split(",") if scope.strip()]
        print(await keys.create(resources, given.account, scopes))
        return 0

    return _with_resources(create)


def _audit(_given: argparse.Namespace) -> int:
    async def look(resources: Resources) -> int:
        found = await audit.look(resources)
        for one in found:
            print(f"promise {one.promise}: {one.rule}: {one.subject}")
        print(f"{len(found)} violations")
        return 1 if found else 0

    return _with_resources(look)


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
