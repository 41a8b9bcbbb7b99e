"""`python -m service.local.chart`: draws the table of states and signals into service/README.md."""

from pathlib import Path

import service
from service.subjects.domain.lifecycle import TABLE, TERMINAL, Ignored, Signal, State

README = Path(service.__file__).parent / "README.md"
BEGIN = "<!-- lifecycle: drawn by `python -m service.local.chart` -->"
END = "<!-- end of lifecycle -->"


def lifecycle_chart() -> str:
    """A mermaid diagram of the transitions, and the whole table, as Markdown."""
    return f"{_state_diagram()}\n\n{_state_table()}"


def with_chart(text: str) -> str:
    """`text` with the chart between its two marks; ValueError if they are missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{lifecycle_chart()}\n{END}{after}"


def _state_diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    for state, row in TABLE.items():
        targets: dict[State, list[str]] = {}
        for signal, decision in row.items():
            if isinstance(decision, State):
                targets.setdefault(decision, []).append(signal.value)
        lines += [
            f"    {state} --> {target}: {', '.join(signals)}" for target, signals in targets.items()
        ]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join([*lines, "```"])


def _state_table() -> str:
    lines = [
        f"| state \\ signal | {' | '.join(Signal)} |",
        f"|---|{'---|' * len(Signal)}",
    ]
    for state, row in TABLE.items():
        cells = [
            f"*{decision}*" if isinstance(decision, Ignored) else f"**{decision}**"
            for decision in (row[signal] for signal in Signal)
        ]
        lines.append(f"| {state} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    README.write_text(with_chart(README.read_text()))
