"""`callsheet dev --story FILE`, and `callsheet story ID`, as they are run by hand."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli import main
from service.local.environment import environment_without_settings
from service.local.ports import free_port
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.raw_servers import raw_server
from tests.support.simulator import SimulatorClient

KEY = "authorization"
START_AND_PLAY = 90  # seconds: a whole stack is started


@pytest.mark.timeout(2 * START_AND_PLAY)
async def test_a_story_is_printed_and_plays_back(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await provider.admin("faults", {"answer": "drop", "lose": True})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(7200)
    await api.work(Work.RECONCILE)
    key = api.http.headers[KEY].removeprefix("Bearer ")
    command = ["story", subject_id, "--url", str(api.http.base_url), "--key", key]
    assert await asyncio.to_thread(main, command) == 0
    file = tmp_path / "story.json"
    out = capsys.readouterr().out
    file.write_text(out[out.index("{\n") :])  # the service's own log lines stand before it
    played = await asyncio.to_thread(dev_story, file)
    assert played.stdout.splitlines()[1:] == [
        "submitting -> unconfirmed by lost",
        "unconfirmed -> succeeded by succeeded",
        "the moves are the same",
    ]
    assert (played.returncode, played.stderr) == (0, "")


def dev_story(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "service", "dev", "--story", str(file)],
        env=environment_without_settings(),
        capture_output=True,
        text=True,
        timeout=START_AND_PLAY,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the story cannot be read: No such file or directory\n"),
        ('{"format": 7}', "the story's $.format: Invalid enum value 7\n"),
    ],
)
def test_what_is_no_story_is_not_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    file = tmp_path / "story.json"
    if content is not None:
        file.write_text(content)
    assert main(["dev", "--story", str(file)]) == 2
    assert capsys.readouterr() == ("", said)


async def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = await asyncio.to_thread(main, ["story", *arguments])
    return code, capsys.readouterr().err


HEAD = b"HTTP/1.1 %s\r\nconnection: close\r\n%s\r\n\r\n%s"
NESTED = b"[" * 100_000


@pytest.mark.parametrize(
    ("answer", "told_of"),
    [
        (HEAD % (b"200 OK", b"content-length: 100000", NESTED), "no answer (RecursionError)"),
        (HEAD % (b"200 OK", b"content-length: 8", b"no story"), "no answer (JSONDecodeError)"),
        (
            HEAD % (b"500 X", b"transfer-encoding: chunked", b"zz\r\n"),
            "status 500: and nothing that can be read",
        ),
    ],
)
async def test_an_answer_that_is_none_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], answer: bytes, told_of: str
) -> None:
    async with raw_server([answer]) as server:
        code, said = await told(capsys, "sub_1", "--url", server.url, "--key", "key")
    assert (code, said) == (6, f"callsheet story: {told_of}\n")


async def test_without_a_key_or_a_subject_there_is_no_story(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = await told(capsys, "sub_1", "--url", "http://127.0.0.1:9")
    assert (code, said) == (
        5,
        "callsheet story: CALLSHEET_URL and CALLSHEET_KEY, or --url and --key, are needed\n",
    )
    monkeypatch.setenv("CALLSHEET_URL", str(api.http.base_url))
    monkeypatch.setenv("CALLSHEET_KEY", api.http.headers[KEY].removeprefix("Bearer "))
    code, said = await told(capsys, "sub_1/../x")
    assert (code, said.startswith("callsheet story: status 404: {")) == (5, True)
    assert (await told(capsys, "sub_1", "--key", "wrong"))[0] == 5
    code, said = await told(capsys, "sub_1", "--url", f"http://127.0.0.1:{free_port()}")
    assert (code, said) == (6, "callsheet story: no answer (URLError)\n")
    code, _ = await told(capsys, "sub_1", "--url", "file:///etc")
    assert code == 5
