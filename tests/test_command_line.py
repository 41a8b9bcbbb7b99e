"""The command line, run as anybody would run it: a process with an environment."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.kit.crypto.key_formats import format_whsec
from service.local.environment import environment_without_settings
from service.local.ports import HOST, free_port
from service.resources import Resources
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient

ROOT = Path(__file__).parent.parent
ANOTHER = format_whsec(b"a secret that is not known yet")


async def run(
    environ: dict[str, str], *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """One command, to its end; `given` is its standard input."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=environment_without_settings() | environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


async def test_a_key_is_printed_alone_on_the_last_line_and_opens_its_account(
    api: Api, environ: dict[str, str]
) -> None:
    done = await run(environ, "keys", "create", "--account", "new", "--scopes", "subjects:read")
    assert done.returncode == 0, done.stderr
    first, key = done.stdout.splitlines()
    (listed,) = (await run(environ, "keys", "list", "--account", "new")).stdout.splitlines()
    assert first == f"id  {listed.split()[0]}"
    headers = {"authorization": f"Bearer {key}"}
    assert (await api.http.get("/v1/subjects", headers=headers)).status_code == 200
    assert (await api.http.get("/v1/subscribers", headers=headers)).status_code == 403


@pytest.mark.parametrize("arguments", [["keys", "list"], ["actions", "--json"]])
async def test_a_list_that_nobody_reads_to_its_end_ends_without_a_word(
    environ: dict[str, str], arguments: list[str]
) -> None:
    await run(environ, "keys", "create", "--account", "new")
    reads, writes = os.pipe()
    os.close(reads)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=environment_without_settings() | environ,
        stdout=writes,
        stderr=subprocess.PIPE,
        timeout=50,
        check=False,
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


async def test_a_scope_that_is_none_is_named(environ: dict[str, str]) -> None:
    done = await run(environ, "keys", "create", "--account", "new", "--scopes", "everything")
    assert done.returncode == 2
    assert "not 'everything'" in done.stderr
    assert done.stdout == ""


async def test_a_name_that_no_account_has_is_refused_in_one_line(environ: dict[str, str]) -> None:
    done = await run(environ, "keys", "create", "--account", "")
    message = "account must have 1 to 100 printable characters\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


async def test_a_time_that_a_key_cannot_last_is_refused_in_one_line(
    environ: dict[str, str],
) -> None:
    done = await run(environ, "keys", "create", "--account", "new", "--expires-in", "soon")
    message = "expires_in must be a time such as 90d, 12h or 30m, up to 3650d\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


async def test_keys_are_rotated_while_the_service_runs(api: Api, environ: dict[str, str]) -> None:
    made = []
    for life in ((), ("--expires-in", "90d")):
        done = await run(environ, "keys", "create", "--account", "the new one", *life)
        made.append(done.stdout.splitlines()[-1])
    assert await statuses(api, made) == [200, 200]
    done = await run(environ, "keys", "list", "--account", "the new one")
    assert (done.returncode, done.stderr) == (0, "")
    old, new = done.stdout.splitlines()
    assert len(old) == len(new), "aligned"
    for line, key, expires in ((old, made[0], "-"), (new, made[1], "2")):
        assert line.split()[1] == key[:12]
        assert key not in line
        assert line.endswith(" active")
        assert line.split(" expires ")[1].startswith(expires)
        assert not line.split(" used ")[1].startswith("-")
        assert "the new one" in line
        assert "subjects:read,subjects:write,subscribers" in line
    for told in (["key_revoked"], []):
        done = await run(environ, "keys", "revoke", old.split()[0])
        assert done.returncode == 0
        assert [json.loads(line)["action"] for line in done.stderr.splitlines()] == told
        assert done.stdout.endswith(" revoked\n")
        assert await statuses(api, made) == [401, 200]
    done = await run(environ, "keys", "list")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [
        "active",  # the fixture's
        "revoked",
        "active",
    ]


async def statuses(api: Api, made: list[str]) -> list[int]:
    """What a caller with each of these keys is answered."""
    headers = [{"authorization": f"Bearer {key}"} for key in made]
    return [(await api.http.get("/v1/subjects", headers=header)).status_code for header in headers]


async def test_a_key_that_is_none_cannot_be_revoked(environ: dict[str, str]) -> None:
    done = await run(environ, "keys", "revoke", "key_none")
    message = "There is no API key of this id. See `callsheet keys list`.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


async def test_where_there_is_no_key_the_list_is_empty(environ: dict[str, str]) -> None:
    done = await run(environ, "keys", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["web", "worker", "migrate", "audit"])
async def test_a_missing_setting_stops_the_start_in_one_line(
    environ: dict[str, str], command: str
) -> None:
    del environ["CALLSHEET_SECRET_KEY"]
    done = await run(environ, command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("CALLSHEET_SECRET_KEY is not set")


async def test_the_audit_finds_nothing_where_nothing_is_wrong(
    api: Api, environ: dict[str, str]
) -> None:
    await api.create()
    done = await run(environ, "audit")
    assert (done.returncode, done.stdout) == (0, "0 violations\n")


async def test_the_audit_shows_what_it_finds(api: Api, environ: dict[str, str]) -> None:
    subject = await api.create()
    await fetch(api.resources, "UPDATE subjects SET version = 2 RETURNING id")
    done = await run(environ, "audit")
    assert done.returncode == 1
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("event_for_each_version (promise 1): a subject has one event for ")
    assert first.endswith(subject["id"])
    assert last == "1 violations"


async def test_the_audit_prints_one_object_of_what_has_changed_since(
    api: Api, environ: dict[str, str]
) -> None:
    subject = await api.create()
    await fetch(api.resources, "UPDATE subjects SET version = 2 RETURNING id")
    done = await run(environ, "audit", "--json", "--since", "90m")
    printed = json.loads(done.stdout)
    assert (done.returncode, printed["violations"]) == (
        1,
        [
            {
                "check": "event_for_each_version",
                "promise": 1,
                "rule": "a subject has one event for each version, from 1 without a gap",
                "about": subject["id"],
            }
        ],
    )
    assert printed["checked"] == {"subjects": 1, "events": 1, "deliveries": 0, "subscribers": 0}
    assert printed["seconds"] > 0
    done = await run(environ, "audit", "--json", "--since", "2100-01-01T00:00:00Z")
    assert (done.returncode, json.loads(done.stdout)["violations"]) == (0, [])


@pytest.mark.parametrize("since", ["yesterday", "7w", "2026-01-01T00:00:00", "-1d", ""])
async def test_what_is_neither_a_duration_nor_a_time_is_refused(since: str) -> None:
    done = await run({}, "audit", f"--since={since}")
    assert done.returncode == 2
    assert "neither how long ago, as 90m or 7d, nor a time" in done.stderr


async def test_an_audit_that_could_not_look_says_why_and_exits_with_2(
    environ: dict[str, str],
) -> None:
    server = environ["CALLSHEET_DATABASE_URL"].rpartition("/")[0]
    reasons = {
        f"{server}/postgres": "The tables are missing: run `callsheet migrate`.\n",
        f"postgresql://postgres@127.0.0.1:{free_port()}/none": "Postgres at 127.0.0.1:",
    }
    for url, reason in reasons.items():
        done = await run(environ | {"CALLSHEET_DATABASE_URL": url}, "audit", "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(reason)
        assert len(done.stderr.splitlines()) == 1


async def test_the_audit_against_the_provider_shows_what_they_do_not_agree_on(
    api: Api, environ: dict[str, str], provider: SimulatorClient
) -> None:
    await api.create()
    orphan = "sub_00000000000000000000000001"
    await provider.create(external_task_id=orphan)
    environ = environ | {"CALLSHEET_PUBLIC_URL": api.resources.settings.public_url}  # at home
    done = await run(environ, "audit", "--against-provider")
    first, last = done.stdout.splitlines()
    assert (done.returncode, last) == (1, "1 violations")
    assert first.startswith(
        "orphan_there (promise 1): a task at the provider that carries an id of our kind has its "
        f"subject here: {orphan}: none here, "
    )
    assert (await run(environ, "audit")).returncode == 0
    await provider.admin("faults", {"on": "list", "code": 1002, "times": None})
    done = await run(environ, "audit", "--against-provider", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("The provider refuses, with code 1002: ")


async def test_a_secret_that_is_added_is_in_force_at_once_and_takes_what_it_could_have_signed(
    api: Api, environ: dict[str, str]
) -> None:
    subject_id = (await api.create())["id"]
    path, body = f"/callbacks/{url_token(api.resources, subject_id)}", legacy_callback(subject_id)
    headers = signed_headers(body, api.resources.clock(), secret=ANOTHER)
    await api.http.post("/callbacks", content=body)
    assert (await api.http.post(path, content=body, headers=headers)).status_code == 401
    for arguments, new, counts in (((), "added", (2, 1)), (("-",), "was there already", (1, 0))):
        done = await run(environ, "secrets", "add", *arguments, given=f"{ANOTHER}\n")
        assert done.returncode == 0, done.stderr
        assert ANOTHER.removeprefix("whsec_") not in done.stdout + done.stderr
        first, last = done.stdout.splitlines()
        assert first.endswith(f" {new}")
        number, taken = counts
        assert (
            last
            == f"{number} rejected callbacks were verified again, {taken} of them were accepted."
        )
    assert (await api.read(subject_id))["state"] == "succeeded"
    assert (await api.http.post(path, content=body, headers=headers)).status_code == 200


async def test_secrets_are_listed_without_showing_them_and_removed(
    api: Api, environ: dict[str, str]
) -> None:
    environ["CALLSHEET_CALLBACK_SOURCES"] = '{"relay": {"scheme": "shared-secret"}}'
    done = await run(environ, "secrets", "add", "--source", "relay", "the-secret-of-a-relay")
    assert done.returncode == 0, done.stderr
    done = await run(environ, "secrets", "list")
    assert done.returncode == 0, done.stderr
    (given, added) = [line.split() for line in done.stdout.splitlines()]
    assert (given[:2], given[3]) == (["settings", "provider"], "-")
    assert added[1] == "relay"
    assert len(added[2]) == 12
    assert "the-secret" not in done.stdout + done.stderr
    done = await run(environ, "secrets", "remove", added[0])
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "It was the last secret of relay: from now on all its callbacks are rejected.\n"
    )
    done = await run(environ, "secrets", "remove", added[0])
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("There is no webhook secret of this id.")
    assert await fetch(api.resources, "SELECT id FROM webhook_secrets") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "nobody"), "source must be one of provider; not 'nobody'"),
        (("--source", "provider"), "secret is not usable: a webhook secret is Base64 after whsec_"),
    ],
)
async def test_a_secret_that_is_none_is_refused_in_one_line(
    environ: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    done = await run(environ, "secrets", "add", *arguments, given="whsec_not a secret")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{message}\n")


async def test_a_secret_that_does_not_come_is_missed_in_one_line(environ: dict[str, str]) -> None:
    done = await run(environ, "secrets", "add", given="")
    message = "secret is required: standard input was empty\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


async def test_migrating_says_which_revision_the_database_has(
    resources: Resources, environ: dict[str, str]
) -> None:
    done = await run(environ, "migrate")
    (row,) = await fetch(resources, "SELECT version_num FROM alembic_version")
    said = f"The database is up to date ({row['version_num']}).\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    await fetch(resources, "UPDATE transaction_ids SET system_identifier = 7")
    done = await run(environ, "migrate")
    rebased = "It came from another Postgres: feeds go on in this one.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said + rebased, "")


@pytest.mark.parametrize(
    "command",
    [("keys", "list"), ("secrets", "list"), ("keys", "create", "--account=a")],
)
async def test_a_database_without_tables_is_said_in_one_line(
    environ: dict[str, str], command: tuple[str, ...]
) -> None:
    empty = environ["CALLSHEET_DATABASE_URL"].rpartition("/")[0] + "/postgres"
    done = await run(environ | {"CALLSHEET_DATABASE_URL": empty}, *command)
    message = "The tables are missing: run `callsheet migrate`.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


async def test_a_worker_without_tables_warns_and_shows_no_traceback(
    environ: dict[str, str],
) -> None:
    empty = environ["CALLSHEET_DATABASE_URL"].rpartition("/")[0] + "/postgres"
    async with asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "worker"),
            cwd=ROOT,
            env=environment_without_settings() | environ | {"CALLSHEET_DATABASE_URL": empty},
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        lines: list[dict[str, object]] = []
        while not any("callsheet migrate" in str(line.get("error")) for line in lines):
            lines.append(json.loads(await process.stderr.readline()))
        process.send_signal(signal.SIGTERM)
        lines += map(json.loads, (await process.stderr.read()).splitlines())
        assert await process.wait() == 0
    assert not [line for line in lines if "exception" in line]


@pytest.mark.parametrize(("command", "end"), [("web", signal.SIGTERM), ("worker", signal.SIGINT)])
async def test_a_process_runs_until_it_is_told_to_end_and_logs_an_object_a_line(
    environ: dict[str, str], command: str, end: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", command),
        cwd=ROOT,
        env=environment_without_settings() | environ | {"CALLSHEET_PORT": str(free_port())},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        first = json.loads(await process.stderr.readline())
        process.send_signal(end)
        rest = await process.stderr.read()
        assert await process.wait() == 0
    lines = [first, *map(json.loads, rest.splitlines())]
    assert {"level", "timestamp", "event", "action"} <= set(first)
    assert lines[-1]["action"] == "stopped"


async def test_a_port_that_is_taken_is_said_in_lines_of_the_log(environ: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        environ["CALLSHEET_PORT"] = str(taken.getsockname()[1])
        done = await run(environ, "web")
    assert done.returncode == 1
    events = [str(json.loads(line)["event"]) for line in done.stderr.splitlines()]
    assert any("address already in use" in event for event in events)


async def test_help_lists_the_commands() -> None:
    done = await run({}, "--help")
    assert done.returncode == 0
    for command in (
        "dev",
        "demo",
        "web",
        "worker",
        "migrate",
        "simulator",
        "keys",
        "secrets",
        "reencrypt",
        "audit",
    ):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["migrate", "audit"])
async def test_a_variable_that_is_no_setting_is_warned_of_at_the_start_without_its_value(
    environ: dict[str, str], command: str
) -> None:
    done = await run(environ | {"CALLSHEET_LEASSE": "hidden"}, command)
    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["level"], line["action"]) == ("warning", "unknown_setting")
    assert (line["name"], line["nearest"]) == ("CALLSHEET_LEASSE", "CALLSHEET_LEASE")
    assert "hidden" not in done.stderr


@pytest.mark.parametrize(
    ("module", "command", "package"),
    [("rich", ["demo"], "rich"), ("PIL", ["dev"], "pillow")],
)
async def test_a_local_command_without_its_packages_names_what_is_missing(
    module: str, command: list[str], package: str
) -> None:
    script = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {command!r}; "
    script += "from service.cli import main; sys.exit(main())"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == f"This needs {package}, as requirements-local.lock lists it."
    assert f"\n{package}==" in (ROOT / "requirements-local.lock").read_text()


@pytest.mark.parametrize(
    ("user", "place", "name", "reason"),
    [
        ("u", f"{HOST}:65009", "db", "[Errno "),
        ("u", "nowhere.invalid:5432", "db", "not known"),
        ("callsheet", None, "db", 'database "db" does not exist'),
        ("nobody-of-ours", None, "postgres", 'password authentication failed for user "nobody-of'),
    ],
)
@pytest.mark.parametrize("command", [("keys", "list"), ("migrate",)])
async def test_what_is_wrong_with_postgres_is_said_in_one_line(  # noqa: PLR0913, PLR0917 - a URL
    environ: dict[str, str],
    command: tuple[str, ...],
    user: str,
    place: str | None,
    name: str,
    reason: str,
) -> None:
    ours = urlsplit(environ["CALLSHEET_DATABASE_URL"])
    password = ours.password if user == ours.username else "hidden"
    place = place or f"{ours.hostname}:{ours.port}"
    environ["CALLSHEET_DATABASE_URL"] = f"postgresql://{user}:{password}@{place}/{name}"
    done = await run(environ, *command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Postgres at {place}, database {name}: ")
    assert reason in line
    assert str(password) not in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dev", "--port", "99999"), "--port: must be a whole number from 0 to 65535"),
        (("dev", "--port", "-5"), "--port: must be a whole number from 0 to 65535"),
        (("simulator", "--port", "99999"), "--port: must be a whole number from 0 to 65535"),
        (
            ("simulator", "--webhook-secret", "abc"),
            "--webhook-secret: a webhook secret starts with whsec_",
        ),
        (("simulator", "--access-key", "a"), "--access-key and --secret-key go together"),
        (("simulator", "--secret-key", "a"), "--access-key and --secret-key go together"),
    ],
)
async def test_an_option_that_cannot_be_is_refused_by_name(
    arguments: tuple[str, ...], message: str
) -> None:
    given = ("--api-key", "k") if "simulator" in arguments else ()
    done = await run({}, *arguments, *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
