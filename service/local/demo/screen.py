"""What a person sees while it goes on: a live table on a terminal, plain lines elsewhere."""

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
    """A function to call whenever something may have changed."""
    if not console.is_terminal:
        yield _LineScreen(console).show
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda board: live.update(_table_view(board), refresh=True)


class _LineScreen:
    """One line for each change of state; the first of a subject says what is special about it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_states: dict[str, str] = {}

    def show(self, board: Progress) -> None:
        for part in board.rows:
            state = part.state
            if state is None or self._shown_states.get(part.character.name) == state:
                continue
            about = (
                ""
                if part.character.name in self._shown_states
                else f" ({part.character.description})"
            )
            self._shown_states[part.character.name] = state
            done = f"{board.finished_count:>2}/{len(board.rows)}"
            line = f"{board.seconds:5.1f} s  {done}  {part.character.name:<5} {state}{about}"
            self._console.print(line, markup=False)


def _table_view(board: Progress) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("subject", "what is special", "state", "heard"):
        table.add_column(heading, header_style="bold", no_wrap=True)
    for part in board.rows:
        table.add_row(
            part.character.name, part.character.description, _state_text(part), _events_text(part)
        )
    total = len(board.rows)
    foot = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=total, completed=board.finished_count, width=40)
    foot.add_row(bar, f"{board.finished_count} of {total}", f"{board.seconds:.1f} s")
    legend = Text("● an event that the subscriber received", style="bright_black")
    return Group(table, Text(), legend, foot)


def _state_text(part: Row) -> Text:
    state = part.state or "·"
    return Text(state, style=STATE_COLOURS.get(state, ""))


def _events_text(part: Row) -> Text:
    return Text("●" * part.received, style="green")
