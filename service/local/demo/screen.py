"""The progress on the screen: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.local.demo.progress import Progress, Row

STATE_COLOURS = {
    "queued": "bright_black",
    "submitting": "cyan",
    "unconfirmed": "magenta",
    "submitted": "blue",
    "processing": "yellow",
    "succeeded": "green",
    "failed": "red",
    "refused": "red",
}
Show = Callable[[Progress], None]


@contextmanager
def live_screen(console: Console) -> Iterator[Show]:
    """Yields a function that shows the progress as it is when it is called."""
    if not console.is_terminal:
        yield _LineScreen(console).show
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda progress: live.update(_table_view(progress), refresh=True)


class _LineScreen:
    """Prints a line for each change of state; a subject's first one with its description."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_states: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        for row in progress.rows:
            state = row.state
            if state is None or self._shown_states.get(row.character.name) == state:
                continue
            about = (
                ""
                if row.character.name in self._shown_states
                else f" ({row.character.description})"
            )
            self._shown_states[row.character.name] = state
            done = f"{progress.finished_count:>2}/{len(progress.rows)}"
            line = f"{progress.seconds:5.1f} s  {done}  {row.character.name:<5} {state}{about}"
            self._console.print(line, markup=False)


def _table_view(progress: Progress) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("subject", "what is special", "state", "heard"):
        table.add_column(heading, header_style="bold", no_wrap=True)
    for row in progress.rows:
        table.add_row(
            row.character.name, row.character.description, _state_text(row), _events_text(row)
        )
    total = len(progress.rows)
    foot = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=total, completed=progress.finished_count, width=40)
    foot.add_row(bar, f"{progress.finished_count} of {total}", f"{progress.seconds:.1f} s")
    legend = Text("● an event that the subscriber received", style="bright_black")
    return Group(table, Text(), legend, foot)


def _state_text(row: Row) -> Text:
    state = row.state or "·"
    return Text(state, style=STATE_COLOURS.get(state, ""))


def _events_text(row: Row) -> Text:
    return Text("●" * row.received, style="green")
