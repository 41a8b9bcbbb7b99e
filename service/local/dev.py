"""`callsheet dev`: runs the whole service in one terminal, on data that is kept."""

import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TextIO

from service.local.errors import LocalError
from service.local.example import write_example
from service.local.folders import read_or_create, write_private
from service.local.ports import HOST, free_port, is_free
from service.local.processes import Child
from service.local.stack import Stack, stack
from service.local.waiting import http_status
from service.settings import read_settings, unknown_variables

ACCOUNT = "development"
CHECK_INTERVAL = 0.3  # seconds between checks of the processes
INNER_PORTS = 9464, 9465  # of web and worker
RESTART_DELAY = 2.0  # seconds before a process that ended is started again


def run(folder: Path, port: int) -> int:
    """Run until Ctrl-C or SIGTERM, then 0; 1 if it cannot start. Prints how to use it."""
    for name, nearest in unknown_variables(os.environ).items():
        near = f"; did you mean {nearest}?" if nearest else ""
        _print(f"callsheet dev: {name} is no setting{near}", sys.stderr)
    try:
        with stack(folder, settings(port, os.environ)) as running:
            _print(_greeting(running, port))
            while True:
                _restart_ended(running)
                time.sleep(CHECK_INTERVAL)
    except (KeyboardInterrupt, SystemExit):
        _print("\nstopped")
        return 0
    except LocalError as error:
        _print(f"callsheet dev: {error}", sys.stderr)
        return 1


def settings(port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of `environ`, with this port, or a free one if it is 0 or taken; and with the
    usual inner ports, if they are not given, or free ones."""
    given = {name: text for name, text in environ.items() if name.startswith("CALLSHEET_")}
    inner = ",".join(_free_or_other(usual) for usual in INNER_PORTS)
    return {"CALLSHEET_INNER_PORT": inner, **given, "CALLSHEET_PORT": _free_or_other(port)}


def _free_or_other(port: int) -> str:
    return str(port if port and is_free(port) else free_port())


def _greeting(running: Stack, port: int) -> str:
    key = development_key(running)
    url = running.base_url
    taken = "" if url.endswith(f":{port}") else f"   (port {port} is taken)"
    example = shlex.quote(f"@{write_example(running.folder / 'example.json')}")
    env = shlex.quote(str(write_env(running)))
    lines = [
        f"Callsheet    {url}{taken}",
        f"Docs         {url}/docs",
        f"Simulator    {running.simulator_url}",
        *_metrics_lines(running),
        f"Data, logs   {running.folder}",
        f"Key          {key}",
        "",
        "Create a subject, and see it become one:",
        f"  curl -sS {url}/v1/subjects -H 'Authorization: Bearer {key}' \\",
        f"    -H 'Content-Type: application/json' -d {example}",
        f"  curl -sS {url}/v1/subjects -H 'Authorization: Bearer {key}'",
        "",
        "Other commands:",
        f"  set -a; . {env}; set +a; {_callsheet_command()} keys list",
        "",
        "Ctrl-C stops it; the data is kept.",
    ]
    return "\n".join(lines)


def _metrics_lines(running: Stack) -> list[str]:
    """The addresses of the metrics of web and worker, unless there is no inner port."""
    web, worker = read_settings(running.env).inner_port
    if web is None:
        return []
    return [f"Metrics      http://{HOST}:{web}/metrics, …:{worker}/metrics"]


def write_env(running: Stack) -> Path:
    """Write the settings of the running service as lines for a shell, into a file that its owner
    alone can read, as it holds keys."""
    path = running.folder / "env"
    lines = [
        f"{name}={shlex.quote(text)}\n"
        for name, text in sorted(running.env.items())
        if name.startswith("CALLSHEET_") and name.isidentifier()
    ]
    write_private(path, "".join(lines))
    return path


def _callsheet_command() -> str:
    """The path of `callsheet` beside this Python, or its name if it is not installed there."""
    installed = Path(sys.executable).with_name("callsheet")
    return shlex.quote(str(installed)) if installed.exists() else "callsheet"


def development_key(running: Stack) -> str:
    """The API key of the data folder; a new one if the service does not know it."""
    file = running.folder / "development-key"
    key = read_or_create(file, lambda: running.make_key(ACCOUNT))
    if http_status(f"{running.base_url}/v1/subjects?limit=1", key) == HTTPStatus.UNAUTHORIZED:
        file.unlink()
        key = read_or_create(file, lambda: running.make_key(ACCOUNT))
    return key


def _restart_ended(running: Stack) -> None:
    for child in running.supervisor.ended():
        _print(child.with_log_tail(child.exit_description()))
        _print(f"{child.command.name} is started again in {RESTART_DELAY:g} s")
        time.sleep(RESTART_DELAY)
        _restart(child)


def _restart(child: Child) -> None:
    try:
        child.restart()
    except LocalError as error:
        _print(str(error))
    else:
        _print(f"{child.command.name} is up again")


def _print(text: str, stream: TextIO | None = None) -> None:
    with suppress(OSError):  # the terminal may be closed: SIGHUP
        print(text, file=stream, flush=True)
