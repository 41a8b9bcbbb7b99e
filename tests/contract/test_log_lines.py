"""deploy/README.md lists every log line that the code writes, and no other, with its fields."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import service
from service.subjects.domain.event import HealthNotice
from tests.support.log_lines import COMMON, documented_actions

PACKAGE = Path(service.__file__).parent
OF_LIBRARIES = {"exc_info"}  # arguments of structlog's own


def calls() -> Iterator[ast.Call]:
    """Every call of a logger in the service; the local tools print for people."""
    for file in PACKAGE.rglob("*.py"):
        if "local" not in file.relative_to(PACKAGE).parts:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                    yield node


def written() -> dict[str, set[str]]:
    """The fields by action, as far as they are written out where the line is logged."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for call in calls():
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        action = named.pop("action")
        fields = {name for name in named if name is not None} - OF_LIBRARIES
        match action:
            case ast.Constant(value=str(word)):
                found[word] |= fields
            case _:  # the one that is made of a notice's name
                for notice in HealthNotice:
                    found[f"subscriber_{notice}"] |= fields
    return found


def test_the_table_of_log_lines_has_every_action_and_no_other() -> None:
    assert documented_actions().keys() == written().keys()


def test_the_table_has_every_field() -> None:
    documented = documented_actions()
    missing = {action: fields - documented[action] for action, fields in written().items()}
    assert {action: fields for action, fields in missing.items() if fields} == {}
    assert not any(COMMON & fields for fields in documented.values())
