"""Installing, as the Makefile does it: what is locked, as it is locked."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

TAG = "py3-none-any"


def build_wheel(folder: Path, name: str, version: str, metadata: Sequence[str] = ()) -> Path:
    """Build a wheel with one empty module; `metadata` are more lines, as `Requires-Dist: …`."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
        ),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {TAG}\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""])
    path = folder / f"{name}-{version}-{TAG}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def lock_text(*wheels: Path) -> str:
    """The text of a lock file that lists these wheels."""
    return "".join(_pin(wheel) for wheel in wheels)


def _pin(path: Path) -> str:
    name, version, _ = path.name.split("-", 2)
    return (
        f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    )


ROOT = Path(__file__).parent.parent
# A build that has been done: pip asks for it as for any other, and needs no package for it.
BACKEND = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("{wheel}", folder).rpartition("/")[2]
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "built"
backend-path = ["."]
"""


@dataclass
class Clone:
    """A project of three tiny packages, with our Makefile. The index has a newer `inner` than is
    locked, and `inner[more]`, which `outer` asks for, comes to a package that is locked nowhere:
    whoever resolves takes the one or looks for the other."""

    folder: Path
    index: Path

    def make(
        self, target: str, python: Path | str | None = sys.executable, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """What make did, with this PYTHON and more of an environment; pip sees the index alone."""
        ours = {name: text for name, text in os.environ.items() if name.partition("_")[0] != "PIP"}
        for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
            ours.pop(name, None)
        return subprocess.run(  # noqa: S603
            ["make", target, *([f"PYTHON={python}"] if python else [])],  # noqa: S607
            cwd=self.folder,
            env=ours
            | more
            | {
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.index),
            },
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def installed(self) -> dict[str, int]:
        """What is in `.venv`, but for what came with it; when each came, in ns."""
        places = self.folder.glob(".venv/lib/python*/site-packages/*.dist-info")
        found = {
            place.name.removesuffix(".dist-info"): place.stat().st_ctime_ns for place in places
        }
        return {
            name: at for name, at in found.items() if not name.startswith(("pip-", "setuptools-"))
        }

    def locks(self) -> tuple[Path, Path]:
        return self.folder / "requirements-local.lock", self.folder / "requirements-dev.lock"

    def stamps(self) -> set[str]:
        return {name for name in ("local", "dev") if (self.folder / ".venv" / name).exists()}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "clone", tmp_path / "index")
    for folder in (made.folder, made.index):
        folder.mkdir()
    outer = build_wheel(made.index, "outer", "1.0", ["Requires-Dist: inner[more]>=1"])
    more = ["Provides-Extra: more", "Requires-Dist: unlocked; extra == 'more'"]
    inner = build_wheel(made.index, "inner", "1.0", more)
    for name, version in (("inner", "2.0"), ("unlocked", "1.0")):
        build_wheel(made.index, name, version)
    project = build_wheel(tmp_path, "project", "0.1")
    shutil.copy(ROOT / "Makefile", made.folder)
    (made.folder / "pyproject.toml").write_text(PYPROJECT)
    (made.folder / "built.py").write_text(BACKEND.format(wheel=project))
    (made.folder / "service").mkdir()
    (made.folder / "service" / "__main__.py").write_text("print('a demo')")
    (made.folder / "requirements-local.lock").write_text(lock_text(inner, outer))
    tester = build_wheel(made.index, "tester", "1.0")
    (made.folder / "requirements-dev.lock").write_text(lock_text(inner, outer, tester))
    return made


def test_what_is_locked_is_installed_whatever_came_out_since(clone: Clone) -> None:
    done = clone.make(".venv/local")
    assert done.returncode == 0, done.stderr
    assert "\nInstalled in " in done.stdout
    local = clone.installed()
    assert set(local) == {"inner-1.0", "outer-1.0", "project-0.1"}
    assert clone.stamps() == {"local"}
    done = clone.make(".venv/dev")
    assert done.returncode == 0, done.stderr
    assert set(clone.installed()) == {*local, "tester-1.0"}
    assert clone.installed().items() >= local.items(), "only what was missing came"
    assert clone.stamps() == {"local", "dev"}
    assert clone.make(".venv/dev").stdout.endswith("up to date.\n")


def test_what_does_not_fit_together_or_is_not_what_was_locked_counts_as_not_installed(
    clone: Clone,
) -> None:
    demanding = build_wheel(clone.index, "outer", "1.0", ["Requires-Dist: inner>=2"])
    done = clone.make(".venv/local")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    inner = next(clone.index.glob("inner-1.0-*"))
    (clone.folder / "requirements-local.lock").write_text(lock_text(inner, demanding))
    done = clone.make(".venv/local")
    assert done.returncode != 0
    assert "outer 1.0 has requirement inner>=2, but you have inner 1.0" in done.stdout
    assert clone.stamps() == set()


def test_what_a_package_that_is_no_longer_locked_bounds_is_mended_by_a_new_venv(
    clone: Clone,
) -> None:
    """The tests' packages are in the same .venv, and a lock moved what one of them bounds."""
    (local, dev), outer = clone.locks(), next(clone.index.glob("outer-*"))
    old, new = (
        clone.index / "inner-1.0-py3-none-any.whl",
        clone.index / "inner-2.0-py3-none-any.whl",
    )
    bounding = build_wheel(clone.index, "tester", "1.0", ["Requires-Dist: inner<2"])
    dev.write_text(lock_text(old, outer, bounding))
    assert clone.make(".venv/dev").returncode == 0
    local.write_text(lock_text(new, outer))
    dev.write_text(lock_text(new, outer))
    done = clone.make("demo")
    assert done.returncode != 0
    assert done.stdout.splitlines()[-2:] == [
        "tester 1.0 has requirement inner<2, but you have inner 2.0.",
        "What is in .venv does not fit together: make clean, and then this again.",
    ]
    clone.make("clean")
    assert clone.make("demo").stdout.endswith("a demo\n")


def test_a_python_that_is_named_is_never_left_aside_for_another_in_the_venv(
    clone: Clone, tmp_path: Path
) -> None:
    assert clone.make("demo").stdout.endswith("a demo\n")
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\necho Python 3.99.0\n")
    other.chmod(0o755)
    ours = ".".join(map(str, sys.version_info[:3]))
    done = clone.make("demo", other)
    assert done.returncode != 0
    assert done.stdout == (
        f"{other} is Python 3.99.0, and .venv has Python {ours}: make clean, and then this again.\n"
    )
    for python in (sys.executable, None):
        done = clone.make("demo", python, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.stdout == "a demo\n", "the one that .venv has, or none, was named"
