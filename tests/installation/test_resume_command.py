"""`callsheet resume`: what it prints, and when it does nothing."""

import argparse
import io
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from service import cli_resume
from service.installation.steps import note_moment
from service.kit.errors import Invalid, Unavailable
from service.subjects.domain.lifecycle import State
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.subjects import subject_in_state

BACK = "UPDATE installation SET last_moment = last_moment - interval '10 minutes'"


@pytest.fixture
async def held(api: Api, clock: Clock) -> Api:
    """A caller of a service that was held for long, as its database went back in time."""
    await note_moment.look(api.resources)
    await fetch(api.resources, BACK)
    await note_moment.look(api.resources)
    clock.advance(600)
    return api


async def resume(api: Api, **changes: Any) -> int:  # noqa: ANN401
    """Run the command; its exit code."""
    given = {
        "erasures": None,
        "moved": None,
        "restored": None,
        "skip_list": None,
        "yes": True,
    } | changes
    return await cli_resume.resume(api.resources, argparse.Namespace(**given))


async def test_the_tasks_are_listed_too_where_a_clock_was_ahead(
    held: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = held.resources.new_id("sub")
    await provider.create(external_task_id=lost)
    await fetch(held.resources, "UPDATE installation SET last_moment = '2090-01-01Z'")
    capsys.readouterr()
    assert await resume(held) == 0
    assert lost in capsys.readouterr().out


async def is_held(api: Api) -> bool:
    await note_moment.look(api.resources)
    return not api.resources.home.is_open


async def test_on_standard_output_are_the_unknown_tasks_alone(
    held: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = held.resources.new_id("sub")
    await provider.create(external_task_id=lost)
    capsys.readouterr()
    assert await resume(held) == 0
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if "action=" not in line]
    task = (await provider.wait_until_finished(lost))["task_id"]
    assert line.split()[:2] == [task, lost]
    assert "1 tasks of the provider are unknown here" in printed.err
    assert not await is_held(held)


async def test_what_log_files_say_was_erased_and_revoked_is_so_before_it_ends(
    held: Api, tmp_path: Path
) -> None:
    erased = await subject_in_state(held, State.SUCCEEDED)
    (key,) = await fetch(held.resources, "SELECT id FROM api_keys WHERE revoked_at IS NULL")
    lines = [
        {"action": "subject_erased", "subject": erased},
        {"action": "key_revoked", "key": key["id"]},
    ]
    file = tmp_path / "web.log"
    file.write_bytes(b"not a line of ours\n" + b"\n".join(map(orjson.dumps, lines)))
    assert await resume(held, erasures=[str(file)]) == 0
    rows = await fetch(held.resources, "SELECT erased_at FROM subjects")
    assert rows[0]["erased_at"] is not None
    assert await fetch(held.resources, "SELECT FROM api_keys WHERE revoked_at IS NULL") == []


async def test_without_a_terminal_and_without_yes_no_address_is_changed(
    held: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes"))
    assert await resume(held, moved=True, yes=None) == 2
    assert await is_held(held)


@pytest.mark.parametrize("kind", ["none", "folder", "pipe"])
async def test_a_file_that_cannot_be_read_twice_is_refused_before_anything_is_done(
    held: Api, tmp_path: Path, kind: str
) -> None:
    await held.create()
    os.mkfifo(tmp_path / "pipe")
    file = {"none": tmp_path / "none.log", "folder": tmp_path, "pipe": tmp_path / "pipe"}[kind]
    with pytest.raises(Invalid):
        await resume(held, erasures=[str(file)])
    assert await is_held(held)
    (row,) = await fetch(held.resources, "SELECT state FROM subjects")
    assert row["state"] == "queued"


async def test_if_the_provider_cannot_be_asked_everything_stays_held_unless_the_list_is_skipped(
    held: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await provider.admin("faults", {"on": "list", "code": 1002, "times": None})
    with pytest.raises(Unavailable):
        await resume(held)
    assert await is_held(held)
    assert await resume(held, skip_list=True) == 0
    assert "audit --against-provider" in capsys.readouterr().err
    assert not await is_held(held)
