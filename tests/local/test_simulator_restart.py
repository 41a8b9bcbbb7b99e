"""A provider does not forget: tasks outlive the process, which ends when told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from service.local.simulator.journal import NAME
from tests.support.request_bodies import request_body
from tests.support.simulator import API_KEY, FINISH_AT_ONCE, NEVER_FINISH, PATH, simulator

RUN = "import sys; from pathlib import Path; from service.local import simulator;"
RUN += f"sys.exit(simulator.run('127.0.0.1', 0, {API_KEY!r}, None, Path(sys.argv[1])))"


def tear(journal: Path) -> None:
    """Leave the journal as a process does that ends in the middle of a line."""
    with journal.open("ab") as file:
        file.write(b'{"id":"123","requ')


@contextmanager
def process(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The simulator as a process of its own; yields it and its address."""
    command = [sys.executable, "-c", RUN, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("simulator ready on http://127.0.0.1:")
            yield running, line.split()[-1]
        finally:
            running.kill()


def test_a_killed_simulator_comes_back_with_its_tasks(tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {API_KEY}"}
    with process(tmp_path) as (running, address):
        body = request_body(external_task_id="kept")
        created = httpx.post(address + PATH, json=body, headers=headers).json()["data"]
        os.kill(running.pid, signal.SIGKILL)
    with process(tmp_path) as (running, address):
        found = httpx.get(f"{address}{PATH}/kept", headers=headers).json()["data"]
        again = httpx.post(address + PATH, json=body, headers=headers)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    assert found["task_id"] == created["task_id"]
    assert again.json()["code"] == 1201


def test_ctrl_c_ends_it_with_success(tmp_path: Path) -> None:
    with process(tmp_path) as (running, _):
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0


async def test_an_unfinished_task_goes_on_and_a_finished_one_stays(tmp_path: Path) -> None:
    async with simulator(data=tmp_path) as remote:
        await remote.create(external_task_id="done")
        done = await remote.wait_until_finished("done")
    async with simulator(NEVER_FINISH, data=tmp_path) as remote:
        await remote.admin("faults", {"fail": "no face", "processing_after": 0})
        await remote.create(external_task_id="open")
        while (await remote.query("open")).json()["data"]["task_status"] != "processing":
            pass
    async with simulator(FINISH_AT_ONCE, data=tmp_path) as remote:
        record = await remote.wait_until_finished("open")
        assert (await remote.query("done")).json()["data"] == done
        counts = (await remote.ledger())["counts"]
    assert (record["task_status"], record["task_status_msg"]) == ("failed", "no face")
    assert (counts["creates_replayed"], counts["tasks"], counts["running"]) == (2, 2, 0)


async def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    async with simulator(data=tmp_path) as remote:
        await remote.create(external_task_id="whole")
        await remote.wait_until_finished("whole")
    tear(tmp_path / NAME)
    for name in ("second", "third"):
        async with simulator(data=tmp_path) as remote:
            assert (await remote.query("whole")).status_code == 200
            await remote.create(external_task_id=name)
            await remote.wait_until_finished(name)


async def test_new_ids_stay_above_the_old_ones(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        async with simulator(data=tmp_path) as remote:
            ids += [(await remote.create()).json()["data"]["task_id"] for _ in range(3)]
    assert ids == sorted(set(ids))
