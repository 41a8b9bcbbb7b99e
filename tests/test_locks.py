"""The locks: each lists what its part of pyproject.toml comes to, and nothing else."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from sys import stdlib_module_names

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = PROJECT["dependencies"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {
    "requirements.lock": NEEDED,
    "requirements-tracing.lock": NEEDED + EXTRAS["tracing"],
    "requirements-local.lock": NEEDED + EXTRAS["local"],
    "requirements-dev.lock": NEEDED + EXTRAS["local"] + EXTRAS["tracing"] + EXTRAS["dev"],
}
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?P<more> \\)?")
Versions = dict[str, set[Version]]


def locked(lock: str) -> Versions:
    """The versions of each package in a lock: several where they depend on the interpreter."""
    found: Versions = {}
    for line in (ROOT / lock).read_text().splitlines():
        if pin := PIN.fullmatch(line):
            found.setdefault(pin["name"], set()).add(Version(pin["version"]))
    return found


def read(lines: Iterable[str]) -> list[Requirement]:
    """Requirements; what names the project itself is left out."""
    read = [Requirement(line) for line in lines]
    return [requirement for requirement in read if requirement.name != PROJECT["name"]]


def closure(lines: Iterable[str]) -> set[str]:
    """What these requirements come to, by what is installed here, on whatever platform."""
    names: set[str] = set()
    waiting = [(requirement.name, requirement.extras) for requirement in read(lines)]
    visited: list[tuple[str, set[str]]] = []
    while waiting:
        name, extras = waiting.pop()
        names.add(canonicalize_name(name))
        if (name, extras) not in visited:
            visited.append((name, extras))
            waiting += [
                (requirement.name, requirement.extras) for requirement in needs(name, extras)
            ]
    return names


def needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What a package asks for, with these extras of its own; nothing if it is not installed."""
    try:
        asked = requires(name) or []
    except PackageNotFoundError:  # it is for another platform
        return
    for requirement in map(Requirement, asked):
        if _is_asked_for(requirement, extras):
            yield requirement


def _is_asked_for(requirement: Requirement, extras: set[str]) -> bool:
    """Whether one of these extras asks for it, or the package itself, whatever the platform."""
    marker = requirement.marker
    if marker is None or "extra" not in str(marker):
        return True
    return any(marker.evaluate({"extra": extra}) for extra in extras)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_a_pin_or_its_hash(lock: str) -> None:
    after = "nothing"
    for line in (ROOT / lock).read_text().splitlines():
        if after == "nothing":
            assert PIN.fullmatch(line), line
            after = "hash"
        else:
            found = HASH.fullmatch(line)
            assert found, line
            after = "hash" if found["more"] else "nothing"
    assert after == "nothing"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_locked_in_a_version_that_it_allows(lock: str) -> None:
    versions = locked(lock)
    for requirement in read(LOCKS[lock]):
        pinned = versions.get(canonicalize_name(requirement.name), set())
        assert pinned, f"{requirement.name} is not in {lock}: make lock"
        assert all(version in requirement.specifier for version in pinned), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_nothing_that_its_requirements_do_not_come_to(lock: str) -> None:
    assert set(locked(lock)) - closure(LOCKS[lock]) == set()


def test_a_package_has_the_same_version_in_every_lock() -> None:
    largest = locked("requirements-dev.lock")
    for smaller in map(locked, LOCKS):
        assert {name: largest.get(name) for name in smaller} == smaller


@pytest.mark.parametrize("name", ["aiohttp", "arq", "uvicorn"])
def test_whose_private_parts_are_used_is_bounded_to_a_minor_release(name: str) -> None:
    requirement = next(entry for entry in read(NEEDED) if entry.name == name)
    (version,) = locked("requirements.lock")[name]
    major, minor, _ = version.release
    assert version in requirement.specifier
    assert f"{major}.{minor + 1}.0" not in requirement.specifier


def test_the_service_imports_only_what_production_installs_and_the_demo_what_local_adds() -> None:
    homes = packages_distributions()
    for file in (ROOT / "service").rglob("*.py"):
        lock = "requirements.lock"
        if file.is_relative_to(ROOT / "service" / "local"):
            lock = "requirements-local.lock"
        elif file.name == "opentelemetry_spans.py":  # which is imported only where it is wanted
            lock = "requirements-tracing.lock"
        there = locked(lock)
        for module in imported(file) - stdlib_module_names - {"service"}:
            homed = {canonicalize_name(home) for home in homes[module]}
            assert homed & set(there), f"{file} imports {module}, of {homed}"


def imported(file: Path) -> set[str]:
    """The top-level names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
