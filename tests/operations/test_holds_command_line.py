"""Holds by the command line, run as anybody would run it: a process with an environment."""

from datetime import timedelta

import pytest

from service.accounts.steps import action_log
from service.accounts.store.actions import ActionFilter
from service.operations.steps import holds
from service.resources import Resources
from tests.submission.test_claim import create_account
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.request_bodies import request_body
from tests.test_command_line import run


async def test_the_id_is_printed_alone_on_the_last_line_and_ends_the_hold(
    resources: Resources, environ: dict[str, str]
) -> None:
    await create_account(resources, "acme")
    options = ("--reason", "a new pack", "--account", "acme", "--until", "2100-01-01T00:00:00Z")
    done = await run(environ, "hold", "submissions", *options)
    assert done.returncode == 0, done.stderr
    said, id_ = done.stdout.splitlines()
    assert said == "submissions of acme until 2100-01-01T00:00:00.000Z: a new pack"
    (made,) = await holds.list_holds(resources)
    assert (made.id, made.account, made.reason) == (id_, "acme", "a new pack")
    listed = await run(environ, "holds")
    assert listed.stdout == f"{id_} {said}\n"
    ended = await run(environ, "release", id_)
    assert (ended.returncode, ended.stdout) == (0, f"{id_} released\n")
    assert await holds.list_holds(resources) == []
    entries, _ = await action_log.page(resources, ActionFilter(object_id=id_), 10)
    assert [(entry.action, entry.actor["kind"]) for entry in entries] == [
        ("released", "command"),
        ("held", "command"),
    ]


async def test_it_may_end_after_a_while(
    resources: Resources, environ: dict[str, str], clock: Clock
) -> None:
    done = await run(environ, "hold", "intake", "--reason", "why", "--until", "2h")
    assert done.returncode == 0, done.stderr
    (made,) = await holds.list_holds(resources)
    assert made.until is not None
    assert timedelta(hours=2) <= made.until - clock() < timedelta(hours=2, minutes=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--reason", "why", "--until", "soon"),
            "until must be an RFC 3339 time with a zone, or a time from now as 90m, 2h or 1d",
        ),
        (("--reason", "why", "--until", "2026-01-01T00:00:00Z"), "until must be in the future"),
        (("--reason", "why", "--account", "nobody"), "account is not the name of an account"),
        (("--reason", " "), "reason must have 1 to 500 characters, not all of them blank"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    resources: Resources, environ: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done = await run(environ, "hold", "intake", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{said}\n")
    assert await holds.list_holds(resources) == []


async def test_a_hold_that_there_is_not_cannot_be_released(environ: dict[str, str]) -> None:
    done = await run(environ, "release", "hld_01ka2v6r3n8x5q9w7e4t1y0z2m")
    assert (done.returncode, done.stderr) == (1, "No hold of this id is in force.\n")


async def test_running_processes_obey_at_once(api: Api, environ: dict[str, str]) -> None:
    made = await run(environ, "hold", "intake", "--reason", "why")
    answer = await api.http.post("/v1/subjects", json=request_body())
    assert answer.json()["code"] == "intake_held"
    await run(environ, "release", made.stdout.split()[-1])
    await api.create()
