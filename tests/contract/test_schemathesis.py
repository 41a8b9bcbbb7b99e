"""The document is true: schemathesis, run against the live service, finds nothing."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service import server
from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.local.ports import free_port
from service.settings import Settings, read_settings
from service.wiring import open_resources
from tests.support.waiting import wait_until
from tests.test_server import listens

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
ROOM = {"CALLSHEET_MAX_SUBSCRIBERS_PER_ACCOUNT": "100000"}


@pytest.mark.timeout(300)
async def test_schemathesis_finds_nothing(environ: dict[str, str]) -> None:
    settings = replace(read_settings(environ | ROOM), port=free_port())
    async with open_resources(settings) as resources:
        key = await api_keys.create(resources, "acme", SCOPES)
        await api_keys.create(resources, "other", SCOPES)
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(settings, stop))
    await wait_until(lambda: listens(settings))
    try:
        code, said = await run(settings, key)
    finally:
        stop.set()
        await running
    assert code == 0, said
    assert "No issues found" in said


async def run(settings: Settings, key: str) -> tuple[int | None, str]:
    """How schemathesis ends, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli"),
        f"--config-file={CONFIGURATION}",
        "run",
        f"http://{settings.host}:{settings.port}/openapi.json",
        f"--header=Authorization: Bearer {key}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=CONFIGURATION.parents[2],
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(errors="replace")
