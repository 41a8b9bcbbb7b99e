"""Documents and code name files that exist, and code cites rules that the documents have."""

import re
from pathlib import Path

import pytest

import service

PACKAGE = Path(service.__file__).parent
ROOT = PACKAGE.parent
# Each document, and the folders from which it names paths.
DOCUMENTS = {
    "README.md": [ROOT],
    "deploy/README.md": [ROOT / "deploy", ROOT],
    "service/README.md": [PACKAGE, ROOT / "tests", ROOT],
    "service/provider/README.md": [PACKAGE / "provider", PACKAGE, ROOT],
}
QUOTED = re.compile(r"`([^`\n]+)`|\]\(([^)#\s]+)[^)]*\)")
FILE = re.compile(r"(?:\.\./)*[\w-]+(?:/[\w.-]+)*\.(?:py|md|yaml|toml|html|lock|example)")
FOLDER = re.compile(r"\w[\w-]*(?:/[\w-]+)*/")
MODULE = re.compile(r"(?<![\w./*-])[a-z_]\w*(?:/\w+)+\.py\b")
CITED = re.compile(r"\bP([1-9]\d?)\b")
DEFINED = re.compile(r"^(?:\* \*\*|\| )P(\d+) [·|]", re.MULTILINE)


def paths_in(text: str) -> set[str]:
    """The files and folders that a document names in backticks or links to."""
    quoted = (code or link for code, link in QUOTED.findall(text))
    return {path for path in quoted if FILE.fullmatch(path) or FOLDER.fullmatch(path)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_path_that_a_document_names_exists(document: str) -> None:
    named = paths_in((ROOT / document).read_text())
    missing = {
        path
        for path in named
        if not any((folder / path).exists() for folder in DOCUMENTS[document])
    }
    assert missing == set()


def test_paths_are_found_in_documents() -> None:
    text = "See `app.py`, [rules](provider/README.md), `tests/chaos/`, `GET /v1/events`, `state`."
    assert paths_in(text) == {"app.py", "provider/README.md", "tests/chaos/"}
    assert len(paths_in((PACKAGE / "README.md").read_text())) > 50


def test_each_module_that_code_names_exists() -> None:
    missing, found = set(), 0
    for folder, pattern in (
        ("service", "*.py"),
        ("service", "*.yaml"),
        ("tests", "*.py"),
        ("migrations", "*.py"),
    ):
        for source in (ROOT / folder).rglob(pattern):
            bases = (ROOT, PACKAGE, ROOT / "tests", source.parent, source.parent.parent)
            named = MODULE.findall(source.read_text())
            found += len(named)
            missing |= {
                (source.name, path)
                for path in named
                if not any((base / path).exists() for base in bases)
            }
    assert missing == set()
    assert found > 20


def test_the_map_of_the_service_names_each_folder_and_each_file_at_its_root() -> None:
    shown = (PACKAGE / "README.md").read_text()
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in folders | files if f"`{name}`" not in shown} == set()


def test_each_rule_that_code_cites_is_in_the_providers_document() -> None:
    defined = set(DEFINED.findall((PACKAGE / "provider" / "README.md").read_text()))
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml"), *(ROOT / "tests").rglob("*.py")]
    cited = {number for source in sources for number in CITED.findall(source.read_text())}
    assert len(cited) > 20
    assert cited <= defined
