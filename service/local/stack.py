"""The whole service on one machine: Postgres, Valkey, simulator, web and worker as processes."""

import asyncio
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import service
from service.installation.domain.installation import home_url
from service.installation.store import installation
from service.kit.crypto.key_formats import format_whsec
from service.kit.database.database import Database
from service.local.environment import environment_without_settings
from service.local.errors import LocalError
from service.local.folders import exclusive_use, make_folder, read_or_create
from service.local.ports import HOST, free_port
from service.local.postgres import start_postgres
from service.local.processes import Child, Command, Supervisor, supervised
from service.local.valkey import start_valkey
from service.local.waiting import http_status

TIMEOUT = 60.0  # seconds until a process must be ready, or a command done
SECRET_BYTES = 32  # of SECRET_KEY; as much for the other secrets

PROGRAM = (sys.executable, "-P", "-m", "service")

PRIVATE_TARGETS = "127.0.0.0/8,::1/128"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service."""

    supervisor: Supervisor  # starts, watches and ends the processes
    folder: Path  # of data, secrets and logs
    env: Mapping[str, str] = field(repr=False)  # variables of its commands, settings included
    base_url: str  # of the web process
    simulator_url: str  # of the provider simulator

    def child(self, name: str) -> Child:
        """The process of this name: `postgres` and `valkey` (unless given by URL), `simulator`,
        `web`, `worker`, or one that was added.
        """
        return self.supervisor.children[name]

    def add(
        self,
        name: str,
        *arguments: str,
        ready: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Child:
        """Add a process, not started yet: `add("worker-2", "worker").start()`. It is ready when a
        GET of the URL `ready` answers 200; None: at once. `settings` are added to the stack's.
        """
        command = Command(
            name=name,
            argv=[*PROGRAM, *arguments],
            env={**self.env, **(settings or {})},
            folder=self.folder,
            is_ready=lambda _pid: ready is None or http_status(ready) == HTTPStatus.OK,
            start_timeout=TIMEOUT,
        )
        return self.supervisor.add(command)

    def call(self, *arguments: str) -> str:
        """Run a command to its end; its output. LocalError if it fails."""
        try:
            done = subprocess.run(  # noqa: S603
                [*PROGRAM, *arguments],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            msg = f"callsheet {arguments[0]} was not done after {TIMEOUT:g} s"
            raise LocalError(msg) from None
        except subprocess.CalledProcessError as error:
            output = error.stderr.strip()
            msg = f"callsheet {arguments[0]} ended with status {error.returncode}: {output}"
            raise LocalError(msg) from None
        return done.stdout

    def make_key(self, account: str, *scopes: str) -> str:
        """A new API key of the account, which is created if there is none; without `scopes` it has
        all but `operator`.
        """
        chosen = ["--scopes", ",".join(scopes)] if scopes else []
        return self.call("keys", "create", "--account", account, *chosen).splitlines()[-1].strip()


@contextmanager
def stack(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    *,
    durable: bool = True,
    keep: bool = True,
) -> Iterator[Stack]:
    """Run the whole service; it is ready for requests when the block is entered.

    `folder` keeps data, secrets and logs, for one run at a time. `settings`, by full name
    (CALLSHEET_…), override those made here: DATABASE_URL and REDIS_URL in place of servers of our
    own (`durable` and `keep` as in `start_postgres`), PORT in place of a free one.
    """
    folder = make_folder(folder)
    given = dict(settings or {})
    with exclusive_use(folder), supervised(folder / "logs") as supervisor:
        base_url = _url(int(given.get("CALLSHEET_PORT", 0)) or free_port())
        simulator_url = _url(free_port())
        env = _base_environment() | _settings(folder, base_url, simulator_url) | given
        running = Stack(supervisor, folder, env, base_url, simulator_url)
        simulator = running.add(
            *_simulator_command(running), ready=f"{simulator_url}/_simulator/healthz"
        )
        simulator.spawn()  # it needs no other process
        if "CALLSHEET_DATABASE_URL" not in given:
            server = start_postgres(supervisor, folder / "postgres", durable=durable, keep=keep)
            env["CALLSHEET_DATABASE_URL"] = server.url
        if "CALLSHEET_REDIS_URL" not in given:
            env["CALLSHEET_REDIS_URL"] = start_valkey(supervisor, folder / "valkey").url
        running.call("migrate")
        if "CALLSHEET_DATABASE_URL" not in given:
            asyncio.run(_move(env["CALLSHEET_DATABASE_URL"], env["CALLSHEET_PUBLIC_URL"]))
        _start_service(running)
        simulator.wait_ready()
        yield running


async def _move(database_url: str, public_url: str) -> None:
    """Make our own database that of this run, which may have another port than the one before."""
    database = Database(database_url)
    try:
        async with database.autocommit() as tx:
            await installation.move(tx, home_url(public_url))
    finally:
        await database.close()


def _start_service(running: Stack) -> None:
    """Start web and worker at once."""
    worker = running.add("worker", "worker")
    web = running.add("web", "web", ready=f"{running.base_url}/readyz")
    for child in (worker, web):
        child.spawn()
    for child in (web, worker):
        child.wait_ready()


def _settings(folder: Path, base_url: str, simulator_url: str) -> dict[str, str]:
    """Settings by name; secrets are created once and kept in the folder."""

    def secret(name: str, write: Callable[[bytes], str]) -> str:
        return read_or_create(folder / name, lambda: write(secrets.token_bytes(SECRET_BYTES)))

    return {
        "CALLSHEET_PUBLIC_URL": base_url,
        "CALLSHEET_HOST": HOST,
        "CALLSHEET_PORT": base_url.rpartition(":")[2],
        "CALLSHEET_SECRET_KEY": secret("secret-key", lambda key: b64encode(key).decode()),
        "CALLSHEET_PROVIDER_URL": simulator_url,
        "CALLSHEET_PROVIDER_API_KEY": secret("provider-key", bytes.hex),
        "CALLSHEET_WEBHOOK_SECRETS": secret("webhook-secret", format_whsec),
        "CALLSHEET_ALLOWED_PRIVATE_TARGETS": PRIVATE_TARGETS,
        "CALLSHEET_INNER_PORT": "",  # many stacks run beside each other
    }


def _simulator_command(running: Stack) -> list[str]:
    """Name and arguments of the simulator's process; it signs if there is a webhook secret."""
    secret = running.env["CALLSHEET_WEBHOOK_SECRETS"].split()[:1]
    return [
        *("simulator", "simulator", "--port", running.simulator_url.rpartition(":")[2]),
        *("--api-key", running.env["CALLSHEET_PROVIDER_API_KEY"]),
        *(["--webhook-secret", *secret] if secret else []),
        *("--data", str(make_folder(running.folder / "provider"))),
    ]


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def _base_environment() -> dict[str, str]:
    """Our environment without settings, and with PYTHONPATH, so that children run this code."""
    env = environment_without_settings()
    root = str(Path(service.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    return env | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
