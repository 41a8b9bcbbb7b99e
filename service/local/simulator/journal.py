"""A journal of tasks in JSON lines, by which they outlive the process."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from service.local.simulator.faults import Fault
from service.local.simulator.tasks import Task

NAME = "simulator.jsonl"


class Journal:
    """An append-only file. Lines survive a killed process; a machine that loses power may lose the
    last ones, as nothing is synced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._file: BinaryIO | None = None

    def replay(self) -> Iterator[Task]:
        """Every task in its last state, in the order of creation; then the journal is open.

        A line without a line break was torn by the end of the process, and is cut off.
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
        """Append a new task."""
        self._write(asdict(task))

    def add_changed(self, task: Task) -> None:
        """Append what has changed of a task."""
        names = ("id", "status", "message", "updated_at", "element_id", "is_deleted", "units")
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
