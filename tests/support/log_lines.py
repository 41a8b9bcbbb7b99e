"""Log lines as deploy/README.md lists them: each action, and the fields that its lines may have."""

import re
from collections.abc import Mapping
from pathlib import Path

import service

README = Path(service.__file__).parent.parent / "deploy" / "README.md"
ROW = re.compile(r"^\| `(?P<action>\w+)` \|(?P<fields>[^|]*)\|", re.MULTILINE)
COMMON = frozenset({"event", "action", "level", "timestamp", "request_id", "exception"})


def documented_actions() -> dict[str, set[str]]:
    """The fields of each action in the table of log lines."""
    _, _, section = README.read_text().partition("\n## Log lines\n")
    table, _, _ = section.partition("\n## ")
    return {
        row["action"]: set(re.findall(r"`(\w+)`", row["fields"])) for row in ROW.finditer(table)
    }


def undocumented(line: Mapping[str, object], actions: Mapping[str, set[str]]) -> set[str]:
    """What of a line is in no documentation: its action, or fields that the action does not have.

    A library's own line has no action, and nothing else but its text.
    """
    action = line.get("action")
    if action is None:
        return line.keys() - COMMON
    if action not in actions:
        return {str(action)}
    return line.keys() - COMMON - actions[str(action)]
