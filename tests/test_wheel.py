"""The wheel: what production installs beside its lock."""

import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from service.local.environment import without_settings
from service.local.server import Server
from service.store.migrate import config
from tests.conftest import database, execute

ROOT = Path(__file__).parent.parent


@pytest.fixture
async def empty(postgres_server: Server) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = "callsheet_of_a_wheel"
    await execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield database(postgres_server.url, name)
    await execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The folder in which a wheel of this checkout is installed, alone: it is unpacked there."""
    run("hatchling", "build", "--target", "wheel", "--directory", str(tmp_path), folder=ROOT)
    (built,) = tmp_path.glob("*.whl")
    place = tmp_path / "site-packages"
    zipfile.ZipFile(built).extractall(place)
    return place


def test_the_wheel_brings_one_package_and_no_other(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert names == {"service"}


async def test_what_the_wheel_installs_can_migrate(
    tmp_path: Path, unpacked: Path, empty: str, environ: dict[str, str]
) -> None:
    given = environ | {"CALLSHEET_DATABASE_URL": empty, "PYTHONPATH": str(unpacked)}
    run("service", "migrate", folder=tmp_path, environ=given)
    connection = await asyncpg.connect(empty)
    try:
        version = await connection.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()
    assert version == ScriptDirectory.from_config(config(empty)).get_current_head()


def run(*command: str, folder: Path, environ: dict[str, str] | None = None) -> None:
    """One of this interpreter's modules, to its end."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", *command],
        cwd=folder,
        env=without_settings() | (environ or {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
