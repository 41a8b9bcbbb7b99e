"""The wheel: what production installs beside its lock."""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from service.kit.database.migrate import alembic_config
from service.local.environment import environment_without_settings
from service.local.server import Server
from tests.conftest import database, execute

ROOT = Path(__file__).parent.parent
INSTALLING = re.compile(r"^/opt/callsheet/bin/pip (.*) dist/callsheet-\*\.whl$", re.MULTILINE)
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")


@pytest.fixture
async def empty(postgres_server: Server) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = "callsheet_of_a_wheel"
    await execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield database(postgres_server.url, name)
    await execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The folder in which a wheel of this checkout is installed, alone. It is built as the Makefile
    says, in a copy of what it is made of, and installed with README's options for it."""
    copy = tmp_path / "checkout"
    for name in ("service", "migrations"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    this = f"PIP={sys.executable} -P -m pip --no-cache-dir --disable-pip-version-check"
    run(["make", "--old-file=.venv/local", "wheel", this], copy, OFFLINE)
    (built,) = (copy / "dist").glob("*.whl")
    place = tmp_path / "site-packages"
    (options,) = INSTALLING.findall((ROOT / "README.md").read_text())
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check"]
    run([*pip, *options.split(), "--target", str(place), str(built)], copy, OFFLINE)
    return place


def test_the_wheel_brings_one_package_and_no_other(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert names == {"bin", "service"}
    assert [path.name for path in (unpacked / "bin").iterdir()] == ["callsheet"]


def test_the_wheel_brings_what_is_not_python_too(unpacked: Path) -> None:
    folder = ROOT / "service"
    files = [path for path in folder.rglob("*.*") if path.suffix not in {".py", ".pyc"}]
    assert {"openapi.yaml", "page.html"} <= {path.name for path in files}
    for path in files:
        brought = unpacked / "service" / path.relative_to(folder)
        assert brought.read_bytes() == path.read_bytes()


async def test_what_the_wheel_installs_can_migrate(
    tmp_path: Path, unpacked: Path, empty: str, environ: dict[str, str]
) -> None:
    given = environ | {"CALLSHEET_DATABASE_URL": empty, "PYTHONPATH": str(unpacked)}
    run([sys.executable, "-P", "-m", "service", "migrate"], tmp_path, given)
    connection = await asyncpg.connect(empty)
    try:
        version = await connection.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()
    assert version == ScriptDirectory.from_config(alembic_config(empty)).get_current_head()


def run(command: Sequence[str], folder: Path, environ: dict[str, str] | None = None) -> None:
    """A command, to its end, without our settings and what another make says."""
    ours = {
        name: text for name, text in environment_without_settings().items() if name not in OF_MAKE
    }
    done = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=ours | (environ or {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
