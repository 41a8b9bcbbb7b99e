"""What a person reads at the end: each subject's way, what the subscriber got, what held."""

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


def print_timelines(console: Console, board: Progress) -> None:
    """A bar for each subject, and when each of its events happened."""
    _print_title(console, "A timeline for each subject, in seconds from its acceptance")
    table = _table()
    longest = max((_seconds(part)[-1] for part in board.rows if part.events), default=1.0)
    for part in board.rows:
        table.add_row(part.character.name, _bar(part, longest), _description(part))
    _print_table(console, table)
    console.print(Text(LEGEND))


def print_deliveries(console: Console, board: Progress, backend: Backend) -> None:
    """What arrived at the subscriber, in the order of arrival."""
    _print_title(
        console, "What the subscriber got, verified: sequence, event, milliseconds after it"
    )
    table = _table()
    for part in board.rows:
        times = {event["id"]: _timestamp(event) for event in part.events}
        arrivals = backend.received[part.subject_id or ""]
        words = ", ".join(_delivery_text(one, times) for one in arrivals)
        table.add_row(part.character.name, words or "nothing: it was refused at once")
    _print_table(console, table)


def print_checks(console: Console, held: Iterable[Check]) -> list[str]:
    """Every expectation with ✓ or ✗; those that do not hold."""
    broken = []
    console.print()
    for sentence, holds in held:
        mark = Text("✓ ", "green") if holds else Text("✗ ", "bold red")
        console.print(mark + Text(sentence))
        if not holds:
            broken.append(sentence)
    return broken


def _print_title(console: Console, text: str) -> None:
    console.print(Text("\n" + text, "bold"))


def _table() -> Table:
    return Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _print_table(console: Console, table: Table) -> None:
    """Each line without the blanks behind it, with which a table fills its columns."""
    for line in console.render_lines(table, pad=False):
        text = Text.assemble(*((piece.text, piece.style or "") for piece in line))
        text.rstrip()
        console.print(text, soft_wrap=True)


def _bar(part: Row, longest: float) -> Text:
    """Each state is drawn from its event to the next; the last is one mark."""
    bar = Text()
    starts = [round(one / (longest or 1) * BAR_WIDTH) for one in _seconds(part)]
    ends = [*starts[1:], *(one + 1 for one in starts[-1:])]
    for event, start, end in zip(part.events, starts, ends, strict=True):
        state = event["data"]["state"]
        bar.append(STATE_MARKS.get(state, "?") * (end - start), STATE_COLOURS.get(state, ""))
    return bar


def _description(part: Row) -> Text:
    if not part.subject_id:
        errors = part.answer.get("errors", [])
        lines = [f"answered {part.status}", *(f"{one['message']}" for one in errors)]
        return Text("\n".join(lines), STATE_COLOURS["refused"])
    words = Text(", ").join(
        Text(
            f"{event['data']['state']} {second:.2f}", STATE_COLOURS.get(event["data"]["state"], "")
        )
        for event, second in zip(part.events, _seconds(part), strict=True)
    )
    error: dict[str, Any] | None = part.subject.get("error")
    return words + Text(f": {error['message']}") if error else words


def _seconds(part: Row) -> list[float]:
    moments = [_timestamp(event) for event in part.events]
    return [one - moments[0] for one in moments]


def _timestamp(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _delivery_text(one: ReceivedEvent, times: dict[str, float]) -> str:
    after = max(0.0, one.received_at - times.get(one.event_id, one.received_at)) * 1000
    return f"{one.sequence} {one.type.partition('.')[2]} +{after:.0f}"
