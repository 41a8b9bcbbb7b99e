"""A database that went back in time, or that is another's, is found out, and nothing else is."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from structlog.typing import EventDict

from service.installation.domain.installation import CLOSED, HeldBecause, home_url
from service.installation.steps import note_moment
from service.job_queue import MOMENT_KEY
from service.local.ports import free_port
from service.resources import Resources
from service.settings import Settings
from service.wiring import open_resources
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.installation import PUBLIC_URL
from tests.support.worker import logged_actions

BACK = "UPDATE installation SET last_moment = last_moment - make_interval(secs => $1)"
ROW = "SELECT * FROM installation"
NO_REDIS = {"redis_url": None}


@asynccontextmanager
async def process(settings: Settings, clock: Clock, **changes: object) -> AsyncIterator[Resources]:
    """One more process on the database, which has not looked yet."""
    changed = replace(settings, **changes)  # type: ignore[arg-type]
    async with open_resources(changed) as opened:
        yield replace(opened, clock=clock)


async def row(resources: Resources) -> dict[str, object]:
    return (await fetch(resources, ROW))[0]


async def look(resources: Resources, times: int = 1) -> HeldBecause | None:
    """Look so many times, 5 s from one to the next; why the process is held then."""
    for _ in range(times):
        resources.clock.advance(5)  # type: ignore[attr-defined]
        await note_moment.look(resources)
    held = resources.home.held
    return None if held is None else held.because


async def test_who_comes_first_is_at_home_and_another_url_is_held(
    settings: Settings, clock: Clock, logged: list[EventDict]
) -> None:
    async with process(settings, clock) as first:
        await fetch(first, "UPDATE installation SET public_url = NULL, last_moment = NULL")
        assert first.home.fence is CLOSED
        assert await look(first) is None
        assert first.home.is_open
        async with process(settings, clock, public_url="https://copy.example") as copy:
            assert await look(copy) is HeldBecause.ELSEWHERE
            assert await look(copy) is HeldBecause.ELSEWHERE
            assert not copy.home.is_open
        assert await look(first) is None
        found = await row(first)
        assert (found["public_url"], found["last_moment"]) == (PUBLIC_URL, clock())
        assert found["held_reason"] is None
    assert logged_actions(logged).count("installation_held") == 1


async def test_a_process_remembers_what_was_written_and_holds_all_when_it_is_gone(
    settings: Settings, clock: Clock
) -> None:
    async with process(settings, clock, **NO_REDIS) as lasting:
        await look(lasting, 4)
        await fetch(lasting, BACK, 11.0)
        async with process(settings, clock, **NO_REDIS) as started:
            assert await look(started) is None, "it knows of nothing, and leaves the row as it is"
            assert await look(lasting) is HeldBecause.WENT_BACK
            assert await look(started) is HeldBecause.WENT_BACK
        found = await row(lasting)
        assert str(found["held_reason"]).startswith("This database went back in time")
        assert found["held_since"] == clock() - timedelta(seconds=5)
        await fetch(
            lasting,
            "UPDATE installation SET held_reason = NULL, held_since = NULL, last_moment = $1",
            clock(),
        )
        assert await look(lasting) is None
        assert lasting.home.is_open


@pytest.mark.parametrize("seconds", [0.0, 10.0])
async def test_a_step_back_as_a_failover_makes_one_holds_nothing(
    settings: Settings, clock: Clock, seconds: float
) -> None:
    async with process(settings, clock) as lasting:
        await look(lasting, 3)
        await fetch(lasting, BACK, seconds)
        await note_moment.look(lasting)
        assert lasting.home.is_open
        assert (await row(lasting))["last_moment"] == clock()


@pytest.mark.parametrize("where", ["redis", "file"])
async def test_what_is_noted_outside_holds_a_process_that_has_just_started(
    settings: Settings, clock: Clock, tmp_path: Path, where: str
) -> None:
    file = tmp_path / "moment"
    outside = {"redis": {}, "file": {"moment_file": str(file), **NO_REDIS}}[where]
    async with process(settings, clock, **outside) as before:
        await look(before, 3)
        await fetch(before, BACK, 600.0)
    async with process(settings, clock, **outside) as after:
        assert await look(after) is HeldBecause.WENT_BACK
        assert (await row(after))["held_reason"]


async def test_the_notes_of_another_installation_hold_nothing(
    settings: Settings, clock: Clock, redis: ArqRedis, tmp_path: Path
) -> None:
    file = tmp_path / "moment"
    async with process(settings, clock, moment_file=str(file)) as other:
        await look(other, 3)
        assert file.read_text().startswith(str((await row(other))["installation_id"]))
        await fetch(other, "UPDATE installation SET installation_id = 'ins_new'")
        await fetch(other, BACK, 600.0)
        assert await look(other) is None
        assert await redis.exists(MOMENT_KEY + "ins_new")
        assert file.read_text().startswith("ins_new ")


async def test_a_clock_that_is_ahead_and_is_put_right_holds_nothing(
    settings: Settings, clock: Clock
) -> None:
    ahead = Clock(clock() + timedelta(hours=1))
    async with process(settings, ahead) as fast, process(settings, clock) as right:
        await look(fast, 3)
        assert await look(right, 3) is None
        assert (await row(right))["last_moment"] >= ahead()  # type: ignore[operator]
        ahead.advance(-3600)
        assert await look(fast) is None
        await fetch(right, BACK, 11.0)
        assert await look(right) is HeldBecause.WENT_BACK


async def test_a_restore_is_found_out_though_a_clock_was_ahead_before(
    settings: Settings, clock: Clock
) -> None:
    async with process(settings, clock) as lasting:
        clock.advance(3600)
        await look(lasting, 3)
        clock.advance(-3600)
        assert await look(lasting, 3) is None
        (backup,) = await fetch(lasting, ROW)
        assert await look(lasting, 13) is None, "a minute of work, which the restore loses"
        await fetch(lasting, "UPDATE installation SET last_moment = $1", backup["last_moment"])
        assert await look(lasting) is HeldBecause.WENT_BACK


@pytest.mark.parametrize("year", ["0001", "9999"])
async def test_a_moment_that_nobody_can_have_written_is_passed_over(
    settings: Settings, clock: Clock, tmp_path: Path, year: str
) -> None:
    file = tmp_path / "moment"
    async with process(settings, clock, moment_file=str(file), **NO_REDIS) as started:
        file.write_text(f"{(await row(started))['installation_id']} {year}-01-01T00:00:00Z")
        assert await look(started, 3) is None
        assert started.home.is_open


@pytest.mark.parametrize("content", [b"", b"ins_x", b"\xff\xfe", b"ins_x 2099-01-01T00:00:00Z"])
async def test_what_stands_in_the_file_or_in_redis_and_is_no_moment_of_ours_is_passed_over(
    settings: Settings, clock: Clock, redis: ArqRedis, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "moment"
    file.write_bytes(content)
    async with process(settings, clock, moment_file=str(file)) as started:
        await redis.set(MOMENT_KEY + str((await row(started))["installation_id"]), content)
        assert await look(started, 3) is None
        assert (await row(started))["last_moment"] == clock()


async def test_redis_and_the_file_away_cost_nothing_but_the_check(
    settings: Settings, clock: Clock, tmp_path: Path
) -> None:
    nobody = {"redis_url": f"redis://127.0.0.1:{free_port()}", "moment_file": str(tmp_path)}
    async with process(settings, clock, **nobody) as lasting:
        assert await look(lasting, 3) is None
        assert (await row(lasting))["last_moment"] == clock()
        await fetch(lasting, BACK, 11.0)
        assert await look(lasting) is HeldBecause.WENT_BACK


async def test_a_pipe_or_a_link_in_the_files_place_is_neither_waited_for_nor_followed(
    settings: Settings, clock: Clock, tmp_path: Path
) -> None:
    file, precious = tmp_path / "moment", tmp_path / "precious"
    os.mkfifo(file)
    precious.write_text("kept")
    beside = tmp_path / f"moment.{os.getpid()}"
    beside.symlink_to(precious)
    async with process(settings, clock, moment_file=str(file), **NO_REDIS) as lasting:
        assert await look(lasting, 3) is None
        assert precious.read_text() == "kept"
        beside.unlink()
        assert await look(lasting) is None
        assert file.is_file()


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        ("https://A.example:443/x/", "https://a.example/x"),
        ("http://user:secret@a.example:8080", "http://a.example:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_urls_are_compared_by_what_they_mean(given: str, compared: str) -> None:
    assert home_url(given) == compared
