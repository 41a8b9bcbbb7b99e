"""Tasks written down as JSON lines, so that they outlive the process."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from service.local.simulator.faults import Fault
from service.local.simulator.tasks import Task

NAME = "simulator.jsonl"


class Journal:
    """Append only. A line is handed to the system before the call returns, which is what a killed
    process needs; a machine that loses power may lose the last ones."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._file: BinaryIO | None = None

    def replay(self) -> Iterator[Task]:
        """Every task as it was last, in the order of creation; then the journal is open.

        What stands after the last line break is a line torn by the end of the process: it is cut.
        """
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        self._file = self._path.open("r+b" if data else "wb")
        self._file.truncate(len(whole))
        self._file.seek(0, 2)
        tasks: dict[str, dict[str, Any]] = {}
        for line in whole.splitlines():
            entry = orjson.loads(line)
            tasks.setdefault(entry["id"], {}).update(entry)
        for entry in tasks.values():
            yield Task(**{**entry, "fault": Fault(**entry["fault"])})

    def add_created(self, task: Task) -> None:
        """Write down a new task."""
        self._write(asdict(task))

    def add_changed(self, task: Task) -> None:
        """Write down what a task has come to."""
        names = ("id", "status", "message", "updated_at", "element_id")
        self._write({name: getattr(task, name) for name in names})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
