"""The report at the end: a timeline of each subject, the deliveries, and the checks."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.local.demo.backend import Backend, ReceivedEvent
from service.local.demo.checks import Check
from service.local.demo.progress import Progress, Row
from service.local.demo.screen import STATE_COLOURS

BAR_WIDTH = 32  # characters of a timeline's bar
LEGEND = "· waiting   ─ with the provider   █ processing   ✓ succeeded   ✗ failed"
STATE_MARKS = {"queued": "·", "submitted": "─", "processing": "█", "succeeded": "✓", "failed": "✗"}


def print_timelines(console: Console, progress: Progress) -> None:
    """Print a bar for each subject, and the seconds at which each of its events happened."""
    _print_title(console, "A timeline for each subject, in seconds from its acceptance")
    table = _table()
    longest = max((_seconds(row)[-1] for row in progress.rows if row.events), default=1.0)
    for row in progress.rows:
        table.add_row(row.character.name, _bar(row, longest), _description(row))
    _print_table(console, table)
    console.print(Text(LEGEND))


def print_deliveries(console: Console, progress: Progress, backend: Backend) -> None:
    """Print what arrived at the subscriber, in the order of arrival."""
    _print_title(
        console, "What the subscriber got, verified: sequence, event, milliseconds after it"
    )
    table = _table()
    for row in progress.rows:
        times = {event["id"]: _timestamp(event) for event in row.events}
        received = backend.received[row.subject_id or ""]
        text = ", ".join(_delivery_text(event, times) for event in received)
        table.add_row(row.character.name, text or "nothing: it was refused at once")
    _print_table(console, table)


def print_checks(console: Console, checked: Iterable[Check]) -> list[str]:
    """Print each check with ✓ or ✗; returns the sentences that do not hold."""
    failed = []
    console.print()
    for sentence, holds in checked:
        mark = Text("✓ ", "green") if holds else Text("✗ ", "bold red")
        console.print(mark + Text(sentence))
        if not holds:
            failed.append(sentence)
    return failed


def _print_title(console: Console, text: str) -> None:
    console.print(Text("\n" + text, "bold"))


def _table() -> Table:
    return Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _print_table(console: Console, table: Table) -> None:
    """Print the table without the blanks at the end of each line."""
    for line in console.render_lines(table, pad=False):
        text = Text.assemble(*((piece.text, piece.style or "") for piece in line))
        text.rstrip()
        console.print(text, soft_wrap=True)


def _bar(row: Row, longest: float) -> Text:
    """The bar: each state from its event to the next, the last state as one mark."""
    bar = Text()
    starts = [round(second / (longest or 1) * BAR_WIDTH) for second in _seconds(row)]
    ends = [*starts[1:], *(start + 1 for start in starts[-1:])]
    for event, start, end in zip(row.events, starts, ends, strict=True):
        state = event["data"]["state"]
        bar.append(STATE_MARKS.get(state, "?") * (end - start), STATE_COLOURS.get(state, ""))
    return bar


def _description(row: Row) -> Text:
    if not row.subject_id:
        errors = row.answer.get("errors", [])
        lines = [f"answered {row.status}", *(error["message"] for error in errors)]
        return Text("\n".join(lines), STATE_COLOURS["refused"])
    words = Text(", ").join(
        Text(
            f"{event['data']['state']} {second:.2f}", STATE_COLOURS.get(event["data"]["state"], "")
        )
        for event, second in zip(row.events, _seconds(row), strict=True)
    )
    error = row.subject.get("error")
    return words + Text(f": {error['message']}") if error else words


def _seconds(row: Row) -> list[float]:
    """When each event happened, in seconds from the first."""
    times = [_timestamp(event) for event in row.events]
    return [time - times[0] for time in times]


def _timestamp(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _delivery_text(event: ReceivedEvent, times: dict[str, float]) -> str:
    delay = max(0.0, event.received_at - times.get(event.event_id, event.received_at)) * 1000
    return f"{event.sequence} {event.type.partition('.')[2]} +{delay:.0f}"
